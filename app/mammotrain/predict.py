"""Judging images with a trained model, on the executors, and writing down what it says."""

from __future__ import annotations

import argparse
import platform
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammotrain import report, session
from mammotrain.backbones import file_sha256
from mammotrain.cache import FeatureRows
from mammotrain.description import Description, read_description
from mammotrain.errors import TrainError, UnusableInput
from mammotrain.events import Progress
from mammotrain.extractor import ExtractSettings
from mammotrain.inputs import Inputs, Item, read_data, read_folder
from mammotrain.judged import metrics_of, summary
from mammotrain.lookup import Looked, look_up
from mammotrain.predictions import Prediction, write_predictions
from mammotrain.results import environment
from mammotrain.storage import Storage, has_scheme

NO_MODEL = "no model at the --model address"
RESEARCH = "research only: no prediction may guide the care of a person"


@dataclass(frozen=True)
class Model:
    """A model that every node has: its name there, its checksum, what it says about itself."""

    name: str
    sha256: str
    description: Description

    def settings(self, batch: int) -> ExtractSettings:
        """Return what a task needs to know to judge `batch` images at once."""
        return ExtractSettings(self.description.key(self.sha256), self.name, 0, batch, whole=True)


def bring_model(spark: Any, storage: Storage, uri: str, sha256: str | None) -> Model:
    """Send the model to every node and read what it says about itself.

    Raises:
        TrainError: it is not there, not the one that was meant, or none that can be used.
    """
    from pyspark import SparkFiles

    if not (storage.exists(uri) if has_scheme(uri) else Path(uri).is_file()):
        raise TrainError(NO_MODEL)
    name = uri.rstrip("/").rsplit("/", 1)[-1]
    if not name.endswith(".keras"):
        raise TrainError("the name of the model does not end in .keras")
    spark.sparkContext.addFile(uri)
    local = Path(SparkFiles.get(name))
    found = file_sha256(local)
    if sha256 and found != sha256:
        raise TrainError(
            f"the model has sha256 {found[:12]}..., not {sha256[:12]}...: "
            "the file is damaged or another one"
        )
    return Model(name, found, read_description(local))


def make_output(folder: Path) -> None:
    """Make the folder of the results.

    Raises:
        TrainError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"the folder for the results cannot be made: {error.strerror}") from error


def run(options: argparse.Namespace, progress: Progress) -> None:
    """Judge all images of a data set or a folder; see `predict_cli.parser` for the options.

    Raises:
        TrainError: with a message for the user.
    """
    begin = time.monotonic()
    make_output(options.output)
    spark = session.start(progress)
    try:
        progress.seconds["start"] = time.monotonic() - begin
        storage = Storage(spark)
        with progress.stage("read"):
            model = bring_model(spark, storage, options.model, options.model_sha256)
            if options.data:
                inputs = read_data(spark, options.data, storage)
            else:
                inputs = read_folder(spark, options.folder, storage)
            _remark(model.description, inputs, progress)
        with progress.stage("predict", total=len(inputs.items)):
            judged = _judge(spark, model, inputs, options, progress)
    finally:
        session.stop(spark)
    with progress.stage("report"):
        found = predictions_of(inputs.items, judged.rows, model.description)
        if not any(one.score is not None for one in found):
            raise UnusableInput(_nothing(found))
        write_predictions(options.output, found, files=options.file_names)
        metrics = metrics_of(inputs.items, found, model, progress.warnings, options.bootstrap)
        report.write_json(options.output / "metrics.json", metrics)
    timings = timings_of(judged.timings(), progress, time.monotonic() - begin)
    report.write_json(options.output / "timings.json", timings)
    if options.publish:
        storage.publish(options.output, options.publish)
    progress.emit("result", "report", metrics=metrics, output=str(options.output))
    progress.message("info", summary(metrics))


def _remark(model: Description, inputs: Inputs, progress: Progress) -> None:
    """Say what a reader of the predictions has to know."""
    if not model.meaningful:
        progress.warn("the model has random backbone weights: its predictions mean nothing")
    if known := sum(model.has_seen(item.sha256) for item in inputs.items if item.sha256):
        progress.warn(
            f"the model was trained on {known} of these {len(inputs.items)} images: whatever is "
            "said about these predictions is too good"
        )
    source = "files" if inputs.items[0].file else "images"
    progress.message("info", f"{len(inputs.items)} {source} to judge; {RESEARCH}")


def _judge(
    spark: Any, model: Model, inputs: Inputs, options: argparse.Namespace, progress: Progress
) -> Looked:
    """Return the scores of all images, those of earlier runs from the cache."""
    wanted = {item.sha256: item.image_id for item in inputs.items if not item.reject}
    total, others = len(inputs.items), len(inputs.items) - len(wanted)

    def advance(done: int, missing: int, workers: int) -> None:
        if done == len(wanted) - missing:
            text = (
                f"{missing} to compute on {workers} executors, {total - missing} known or rejected"
            )
            progress.message("info", f"predict: {text}")
        progress.advance("predict", others + done, total)

    return look_up(
        spark,
        inputs.frame,
        wanted=wanted,
        settings=model.settings(options.batch_size),
        cache=options.cache,
        advance=advance,
    )


def predictions_of(items: list[Item], rows: FeatureRows, model: Description) -> list[Prediction]:
    """Return a prediction for each item, in their order; no item may just vanish.

    Raises:
        TrainError: an item has neither score nor reason.
    """
    found = []
    lost = 0
    for item in items:
        score, reason = None, item.reject
        if reason is None:
            vector = rows.vectors.get(item.sha256)
            score = None if vector is None else float(vector[0])
            reason = None if score is not None else rows.rejects.get(item.sha256)
            lost += score is None and reason is None
        found.append(Prediction.of(item, score, reason, rows.warnings.get(item.sha256, []), model))
    if lost:
        raise TrainError(
            f"the scores of {lost} images are not in the cache although all tasks ended well: "
            "check its storage"
        )
    return found


def _nothing(found: list[Prediction]) -> str:
    reason, count = Counter(one.reason for one in found).most_common(1)[0]
    return f"no usable image ({len(found)} rejected, most often: {reason}, {count} times)"


def timings_of(found: dict[str, Any], progress: Progress, seconds: float) -> dict[str, Any]:
    """Return the contents of `timings.json`: `found`, stages, and all of the wall time so far."""
    return {
        "schema": 1,
        "driver": platform.node(),
        "environment": environment(),
        "total_seconds": round(seconds, 3),
        "stages": {name: round(value, 3) for name, value in progress.seconds.items()},
        **found,
    }
