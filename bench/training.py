#!/usr/bin/env python3
"""Cross-validate the training on a folder of images, on local Spark, beside what it has to beat.

    .venv-node/bin/python bench/training.py FOLDER --weights FILE [--variant "OPTIONS"]...

FOLDER has a manifest.csv (docs/data.md). The defaults as they are shipped, the plain ways of using
the same network, and every variant (options of train.py) are cross-validated on the same folds by
patient; so is age alone. Features are kept in --work. Each line gives the AUC with its interval,
and how far the defaults are above it: paired, patients drawn with replacement. --speed prints what
bench/training_speed.py measures as well.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "app")]

DEFAULTS = "defaults"
PLAIN = {
    "last block averaged, whole picture": "--fit squash --pooling avg",
    "three blocks pooled, whole picture": "--fit squash --pooling blocks",
}
ROUNDS = {"rounds": 2000, "seed": 0}


def pack(folder: Path, target: Path) -> None:
    """Pack the images as `mammoctl data push` does, into a local folder."""
    from mammoctl.data.describe import patient_source
    from mammoctl.data.pack import pack as pack_images
    from mammoctl.data.scan import scan_folder

    scan = scan_folder(folder)
    target.mkdir(parents=True)

    @contextmanager
    def opened(name: str) -> Iterator[Any]:
        with (target / name).open("wb") as stream:
            yield stream

    # patients keep their split from run to run: the key decides the pseudonyms
    packed = pack_images(scan.images, b"bench" * 8, opened)
    source = patient_source(scan, packed)
    about = {"name": folder.name, "patient_source": source, "images": packed.images}
    (target / "dataset.json").write_text(json.dumps(about))


def images_of(data: Path) -> dict[str, Any]:
    """Return the images of a packed data set by their ids."""
    import pyarrow.parquet as pq
    from mammotrain.dataset import LABELS, Image

    columns = ["image_id", "patient_id", "label", "sha256", "laterality", "age"]
    rows = pq.ParquetDataset(sorted(data.glob("*.parquet"))).read(columns).to_pylist()
    return {
        row["image_id"]: Image(
            row["image_id"],
            row["patient_id"],
            LABELS[row["label"]],
            row["sha256"],
            {name: str(row[name]) for name in ("laterality", "age") if row[name]},
        )
        for row in rows
    }


def scores_of(output: Path, images: dict[str, Any]) -> tuple[list[Any], list[int], Any]:
    """Return the images that were cross-validated, the fold of each, and its score."""
    with (output / "cross_validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = np.array([float(row["score"]) for row in rows])
    return [images[row["image_id"]] for row in rows], [int(row["fold"]) for row in rows], scores


def age_scores(images: list[Any], folds: list[int]) -> Any:
    """Return what a logistic regression on age alone says on the same folds."""
    from mammotrain.baseline import metadata_scores

    known = [replace(image, about={"age": image.about.get("age", "")}) for image in images]
    place = np.array(folds)
    scores = np.zeros(len(images))
    for number in sorted(set(folds)):
        train = [known[row] for row in np.flatnonzero(place != number)]
        found = metadata_scores(train, [known[row] for row in np.flatnonzero(place == number)])
        scores[place == number] = 0.5 if found is None else found
    return scores


def table(found: dict[str, Any], images: list[Any]) -> None:
    """Print each entry's AUC, and by how much the defaults' is higher; by image and by breast."""
    from mammotrain.dataset import owners
    from mammotrain.groups import by_breast, judge
    from mammotrain.metrics import paired_auc_difference

    units = {"by image": lambda scores: (images, scores)}
    if by_breast(images, found[DEFAULTS]):
        units["by breast (views averaged)"] = lambda scores: by_breast(images, scores)[:2]
    for unit, of in units.items():
        print(f"\n{unit:38}  AUC                       defaults minus this")
        whole, best = of(found[DEFAULTS])
        for name, scores in found.items():
            members, values = of(scores)
            judged = judge(members, values, **ROUNDS)
            line = f"{name[:38]:38}  {figure(judged['auc'], judged['auc_interval_95'])}"
            if name != DEFAULTS:
                labels = [image.label for image in whole]
                apart = paired_auc_difference(labels, best, values, owners(whole), **ROUNDS)
                line += f"   {figure(apart['difference'], apart['interval_95'], '+')}"
            print(line, flush=True)


def figure(value: float, ends: list[float] | None, sign: str = "") -> str:
    """Return a number with its interval."""
    if ends is None:
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.3f} ({ends[0]:{sign}.3f} to {ends[1]:{sign}.3f})"


def main() -> int:
    """Run all variants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("bench-training"))
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="another seed, other folds")
    parser.add_argument("--speed", action="store_true", help="measure the speed as well")
    options = parser.parse_args()
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from mammotrain.cli import main as train

    data = options.work / "data"
    if not (data / "dataset.json").is_file():
        pack(options.folder, data)
    images = images_of(data)
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores", flush=True)
    named = {DEFAULTS: "", **PLAIN, **{variant: variant for variant in options.variant}}
    found: dict[str, Any] = {}
    for number, (name, variant) in enumerate(named.items()):
        output = options.work / f"result-{number}"
        begin = time.monotonic()
        code = train(
            [
                *("--data", str(data), "--features", str(options.work / "features")),
                *("--weights", str(options.weights), "--output", str(output)),
                *("--folds", str(options.folds), "--seed", str(options.seed)),
                *shlex.split(variant),
            ]
        )
        if code:
            return code
        judged, folds, found[name] = scores_of(output, images)
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
    found["age alone"] = age_scores(judged, folds)
    table(found, judged)
    if options.speed:
        script = Path(__file__).with_name("training_speed.py")
        argv = [sys.executable, str(script), "--weights", str(options.weights)]
        return subprocess.run(argv, check=False).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
