"""A look at a data set before anything is trained: tables by SQL, clusters of the features."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mammotrain import __version__, report, session, summaries
from mammotrain.cache import table_of
from mammotrain.clusters import SMALLEST, Clusters, cluster, composition
from mammotrain.dataset import ABOUT
from mammotrain.description import CALLED
from mammotrain.events import Progress
from mammotrain.explore_page import explore_page, plots
from mammotrain.extractor import ExtractSettings
from mammotrain.groups import age_group
from mammotrain.inputs import Inputs, Item, read_data
from mammotrain.lookup import Looked, look_up
from mammotrain.network import bring_weights, check_weights, feature_key
from mammotrain.predict import make_output, timings_of
from mammotrain.predictions import as_csv
from mammotrain.storage import Storage

GOES_WITH = ("label", *ABOUT)


def run(options: argparse.Namespace, progress: Progress) -> None:
    """Describe a data set; see `explore_cli.parser` for the options.

    Raises:
        TrainError: with a message for the user.
    """
    begin = time.monotonic()
    check_weights(options)
    make_output(options.output)
    with tempfile.TemporaryDirectory(prefix="mammotrain-") as scratch:
        spark = session.start(progress)
        try:
            progress.seconds["start"] = time.monotonic() - begin
            storage = Storage(spark)
            with progress.stage("read"):
                inputs = read_data(spark, options.data, storage)
                summaries.register(inputs.frame)
                tables = summaries.tables(spark)
                weights = bring_weights(spark, storage, options, Path(scratch))
            wanted = {item.sha256: item for item in inputs.items if not item.reject}
            with progress.stage("features", total=len(wanted)):
                looked = _features(
                    spark, inputs, wanted, weights=weights, options=options, progress=progress
                )
            with progress.stage("clusters"):
                found = _clusters(spark, looked, options, progress)
        finally:
            session.stop(spark)
    with progress.stage("report"):
        metrics = _metrics(
            inputs, looked, tables=tables, found=found, options=options, progress=progress
        )
        report.write_json(options.output / "metrics.json", metrics)
        images = [_known(wanted[sha256]) for sha256 in found.checksums] if found else []
        if found:
            _write_clusters(options.output / "clusters.csv", found, images)
        drawn = plots(tables, found, images)
        for name, figure in drawn.items():
            figure.savefig(options.output / f"{name}.png")
        page = explore_page(metrics, drawn)
        (options.output / "explore.html").write_text(page, encoding="utf-8")
    timings = timings_of(looked.timings(), progress, time.monotonic() - begin)
    report.write_json(options.output / "timings.json", timings)
    if options.publish:
        storage.publish(options.output, options.publish)
    progress.emit("result", "report", metrics=metrics, output=str(options.output))
    clusters = f"; {found.k} clusters" if found else ""
    progress.message("info", f"{len(inputs.items)} images described{clusters}")


def _features(
    spark: Any,
    inputs: Inputs,
    wanted: dict[str, Item],
    *,
    weights: Path | None,
    options: argparse.Namespace,
    progress: Progress,
) -> Looked:
    if weights is None:
        progress.warn("random backbone weights: the clusters mean nothing")
    return look_up(
        spark,
        inputs.frame,
        wanted={sha256: item.image_id for sha256, item in wanted.items()},
        settings=ExtractSettings(
            feature_key(options, weights),
            weights.name if weights else None,
            options.seed,
            options.batch_size,
        ),
        cache=options.features,
        advance=lambda done, *_: progress.advance("features", done, len(wanted)),
    )


def _clusters(
    spark: Any, looked: Looked, options: argparse.Namespace, progress: Progress
) -> Clusters | None:
    """Return the clusters of all images that have features; None where there are too few."""
    count = len(looked.rows.vectors)
    if count < SMALLEST:
        progress.warn(f"{count} images are too few for clusters: {SMALLEST} at least")
        return None
    tried = [k for k in range(2, options.clusters + 1) if k < count]
    dimension = len(next(iter(looked.rows.vectors.values())))
    ours = spark.createDataFrame([(one,) for one in looked.rows.vectors], "sha256 string")
    rows = (
        table_of(spark, looked.root)
        .where("features IS NOT NULL")
        .select("sha256", "features")
        .join(ours, "sha256", "left_semi")
        .dropDuplicates(["sha256"])
    )
    found = cluster(rows, images=count, dimension=dimension, tried=tried, seed=options.seed)
    if found is None:
        progress.warn("all images look the same to the network: no clusters")
    return found


def _known(item: Item) -> dict[str, str]:
    """Return what is known of an image beside its pixels, with its id and label."""
    label = {} if item.label is None else {"label": CALLED[item.label]}
    return {"image_id": item.image_id, **label, **item.about}


def _grouped(known: dict[str, str]) -> dict[str, str]:
    """Return what is known with the age in groups: single years are too few images each."""
    return {**known, "age": age_group(known["age"])} if "age" in known else known


def _metrics(
    inputs: Inputs,
    looked: Looked,
    *,
    tables: dict[str, list[dict[str, Any]]],
    found: Clusters | None,
    options: argparse.Namespace,
    progress: Progress,
) -> dict[str, Any]:
    usable = {item.sha256: item for item in inputs.items if not item.reject}
    reasons = Counter(looked.rows.rejects[one] for one in usable if one in looked.rows.rejects)
    clusters = None
    if found:
        about = [_grouped(_known(usable[sha256])) for sha256 in found.checksums]
        clusters = {
            "k": found.k,
            "sizes": [int((found.members == number).sum()) for number in range(found.k)],
            "silhouettes": {str(k): value for k, value in found.silhouettes.items()},
            "variance": found.variance,
            "goes_with": composition(found.members, about, GOES_WITH),
        }
    return {
        "schema": 1,
        "application": f"mammotrain {__version__}",
        "meaningful": options.weights != "none",
        "warnings": progress.warnings,
        "data": {
            "name": str(inputs.info.get("name", "")),
            "images": len(looked.rows.vectors),
            "patients": len({i.patient_id for i in inputs.items if i.patient_id}),
            "rejected": len(inputs.items) - len(looked.rows.vectors),
            "reasons": dict(reasons.most_common()),
        },
        "network": {
            "backbone": options.backbone,
            "pooling": options.pooling,
            "fit": options.fit,
            "key": looked.root.rsplit("/", 1)[-1],
        },
        "tables": tables,
        "clusters": clusters,
    }


def _write_clusters(path: Path, found: Clusters, images: list[dict[str, str]]) -> None:
    """Write a row for each image: where it belongs, and what is known of it."""
    names = ("image_id", "cluster", "distance", "first", "second", *GOES_WITH)
    rows = [
        (
            known["image_id"],
            int(found.members[i]),
            float(found.distances[i]),
            *(float(value) for value in found.places[i]),
            *(known.get(name) for name in GOES_WITH),
        )
        for i, known in enumerate(images)
    ]
    as_csv(path, names, sorted(rows, key=lambda row: str(row[0])))
