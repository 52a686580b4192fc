"""The run from data set to results, one function a stage."""

from __future__ import annotations

import argparse
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain import __version__, report, session
from mammotrain.backbones import BACKBONES, file_sha256
from mammotrain.cache import FeatureKey, FeatureRows, read_features
from mammotrain.dataset import Dataset, Image, Reject, check_usable, read_dataset
from mammotrain.decode import PREPROCESSING_VERSION
from mammotrain.errors import TrainError, UnusableInput
from mammotrain.events import Progress
from mammotrain.features import ExtractSettings, compute_features, sample_pixels
from mammotrain.head import HeadOptions, predict, save_model, train_head
from mammotrain.metrics import evaluate
from mammotrain.split import split
from mammotrain.storage import Storage

# Features are trained on in the driver's memory; beyond this they must not be collected there.
MAX_FEATURE_BYTES = 2 * 1024**3
SAMPLES = 4
MEANINGLESS = "random backbone weights: timings are valid, predictions mean nothing"


@dataclass
class State:
    """What the stages hand on."""

    options: argparse.Namespace
    progress: Progress
    scratch: Path
    key: FeatureKey
    weights: Path | None
    dataset: Dataset
    images: list[Image]
    rejects: list[Reject]
    vectors: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    computed: FeatureRows = field(default_factory=lambda: FeatureRows({}, {}, {}))
    executors: dict[str, int] = field(default_factory=dict)
    samples: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    sample_ids: list[str] = field(default_factory=list)
    forward_seconds: float = 0.0


def run(options: argparse.Namespace, progress: Progress) -> None:
    """Do everything; see `cli.parser` for the options.

    Raises:
        TrainError: with a message for the user.
    """
    begin = time.monotonic()
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mammotrain-") as scratch:
        spark = session.start(progress)
        try:
            progress.seconds["start"] = time.monotonic() - begin
            storage = Storage(spark)
            with progress.stage("read"):
                state = _read(spark, storage, options, progress, Path(scratch))
            with progress.stage("features", total=len(state.images)):
                _features(spark, state)
        finally:
            # The rest needs no executors: others may have them, and this machine their memory.
            spark.stop()
        with progress.stage("train", total=options.epochs):
            parts, model, history = _train(state)
        with progress.stage("evaluate", total=len(parts)):
            metrics = _evaluate(state, parts, model)
        with progress.stage("report"):
            _report(state, storage, model, history, metrics, begin)
    progress.emit("result", "report", metrics=metrics, output=str(options.output))
    progress.message("info", summary(metrics))


def _read(
    spark: Any, storage: Storage, options: argparse.Namespace, progress: Progress, scratch: Path
) -> State:
    weights = _weights(spark, storage, options, scratch)
    if weights is None:
        progress.warn(MEANINGLESS)
    dataset = read_dataset(spark, options.data, storage)
    if not dataset.by_patient:
        progress.warn("the patients are not known: the split is by image and may be too optimistic")
    check_usable(dataset.images, dataset.rejects, _parts(options))
    counts = {name: sum(i.label == v for i in dataset.images) for name, v in _LABELS.items()}
    progress.message(
        "info",
        f"{len(dataset.images)} images of {len({i.patient_id for i in dataset.images})} patients "
        f"({counts['benign']} benign, {counts['malignant']} malignant), "
        f"{len(dataset.rejects)} rejected so far",
    )
    key = FeatureKey(
        backbone=options.backbone,
        pooling=options.pooling,
        size=BACKBONES[options.backbone].size,
        weights=file_sha256(weights) if weights else f"random:{options.seed}",
        preprocessing=PREPROCESSING_VERSION,
    )
    return State(
        options,
        progress,
        scratch,
        key,
        weights,
        dataset,
        dataset.images,
        list(dataset.rejects),
        executors=session.executors(spark),
    )


_LABELS = {"benign": 0, "malignant": 1}


def _parts(options: argparse.Namespace) -> int:
    return 1 + (options.validation > 0) + (options.test > 0)


def _weights(
    spark: Any, storage: Storage, options: argparse.Namespace, scratch: Path
) -> Path | None:
    """Send the weights to every node, check them, and keep a copy that outlives the session."""
    if options.weights == "none":
        return None
    from pyspark import SparkFiles

    if not storage.exists(options.weights):
        raise TrainError("no weights file at the --weights address (or use --weights none)")
    spark.sparkContext.addFile(options.weights)
    source = Path(SparkFiles.get(options.weights.rstrip("/").rsplit("/", 1)[-1]))
    found = file_sha256(source)
    if options.weights_sha256 and found != options.weights_sha256:
        raise TrainError(
            f"the weights have sha256 {found[:12]}..., not {options.weights_sha256[:12]}...: "
            "the file is damaged or another one"
        )
    copy = scratch / source.name
    shutil.copyfile(source, copy)
    return copy


def _features(spark: Any, state: State) -> None:
    options, key, progress = state.options, state.key, state.progress
    dimension = BACKBONES[key.backbone].dimensions[key.pooling]
    if len(state.images) * dimension * 4 > MAX_FEATURE_BYTES:
        raise TrainError(
            f"{len(state.images)} images with {dimension} features do not fit the driver "
            f"({MAX_FEATURE_BYTES >> 30} GiB at most): use --pooling avg or a smaller backbone"
        )
    root = f"{options.features.rstrip('/')}/{key.digest()}"
    wanted = _ids(spark, state.images)
    state.vectors = read_features(spark, root, wanted, dimension).vectors
    missing = [image for image in state.images if image.sha256 not in state.vectors]
    cached = len(state.vectors)
    progress.message("info", f"features: {cached} in the cache, {len(missing)} to compute")
    if missing:
        name = state.weights.name if state.weights else None
        settings = ExtractSettings(key, name, options.seed, options.batch_size)
        begin = time.monotonic()
        state.computed = compute_features(
            spark,
            state.dataset.frame,
            _ids(spark, missing),
            len(missing),
            sum(state.executors.values()),
            settings,
            root,
            progress,
        )
        state.forward_seconds = time.monotonic() - begin
        state.vectors.update(state.computed.vectors)
        _settle(state, missing)
    else:
        progress.advance("features", len(state.images), len(state.images))
    check_usable(state.images, state.rejects, _parts(options))
    state.samples, state.sample_ids = sample_pixels(
        spark, state.dataset.frame, key.size, SAMPLES, {i.image_id for i in state.images}
    )


def _ids(spark: Any, images: list[Image]) -> Any:
    import pyarrow as pa

    return spark.createDataFrame(
        pa.table(
            {
                "image_id": pa.array([image.image_id for image in images], pa.string()),
                "sha256": pa.array([image.sha256 for image in images], pa.string()),
            }
        )
    )


def _settle(state: State, missing: list[Image]) -> None:
    """Move the images that could not be decoded to the rejects; no image may just vanish."""
    reasons = state.computed.rejects
    lost = [i for i in missing if i.sha256 not in state.vectors and i.sha256 not in reasons]
    if lost:
        raise TrainError(
            f"the features of {len(lost)} images are not in the cache although all tasks ended "
            "well: check its storage"
        )
    for image in missing:
        if image.sha256 in reasons:
            state.rejects.append(Reject(image.image_id, reasons[image.sha256]))
    state.images = [image for image in state.images if image.sha256 in state.vectors]
    if reasons:
        state.progress.message("warning", f"{len(reasons)} images could not be used: rejects.csv")


Part = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def _arrays(state: State, images: list[Image]) -> Part:
    matrix = np.stack([state.vectors[image.sha256] for image in images])
    return matrix, np.array([image.label for image in images], dtype=np.int64)


def _train(state: State) -> tuple[dict[str, list[Image]], Any, dict[str, list[float]]]:
    options, progress = state.options, state.progress
    parts = split(
        state.images, {"validation": options.validation, "test": options.test}, options.seed
    )
    for name, images in parts.items():
        if len({image.label for image in images}) < 2:
            progress.warn(f"the {name} part has one class only: no AUC for it")

    def on_epoch(epoch: int, numbers: dict[str, float]) -> None:
        progress.emit("epoch", "train", done=epoch, total=options.epochs, **numbers)
        shown = " ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        progress.message("info", f"epoch {epoch}/{options.epochs}: {shown}")

    head = HeadOptions(
        options.head_units,
        options.dropout,
        options.learning_rate,
        options.epochs,
        options.head_batch,
        options.seed,
    )
    validation = _arrays(state, parts["validation"]) if "validation" in parts else None
    model, history = train_head(_arrays(state, parts["train"]), validation, head, on_epoch)
    return parts, model, history


def _evaluate(state: State, parts: dict[str, list[Image]], model: Any) -> dict[str, Any]:
    options, progress = state.options, state.progress
    labels = [image.label for image in parts["train"]]
    majority = int(sum(labels) * 2 > len(labels))
    scores: dict[str, Any] = {}
    for number, (name, images) in enumerate(parts.items(), 1):
        matrix, truth = _arrays(state, images)
        scores[name] = evaluate(
            truth,
            predict(model, matrix),
            [image.patient_id for image in images],
            majority,
            options.bootstrap,
            options.seed,
        )
        progress.advance("evaluate", number, len(parts))
    return {
        "schema": 1,
        "application": f"mammotrain {__version__}",
        "meaningful": state.weights is not None,
        "warnings": progress.warnings,
        "seed": options.seed,
        "epochs": options.epochs,
        "backbone": options.backbone,
        "weights": state.key.weights,
        "head": {
            "units": options.head_units,
            "dropout": options.dropout,
            "learning_rate": options.learning_rate,
            "batch": options.head_batch,
        },
        "features": {
            "key": state.key.digest(),
            "pooling": state.key.pooling,
            "dimension": BACKBONES[state.key.backbone].dimensions[state.key.pooling],
            "computed": len(state.computed.vectors),
            "cached": len(state.vectors) - len(state.computed.vectors),
        },
        "data": {
            "name": str(state.dataset.info.get("name", "")),
            "images": len(state.images),
            "patients": len({image.patient_id for image in state.images}),
            "benign": sum(image.label == 0 for image in state.images),
            "malignant": sum(image.label == 1 for image in state.images),
            "rejected": len(state.rejects),
        },
        "split": {"by": "patient" if state.dataset.by_patient else "image", "parts": list(parts)},
        "threshold": 0.5,
        "bootstrap": {"rounds": options.bootstrap, "unit": "patient", "level": 0.95},
        **scores,
    }


def _report(
    state: State,
    storage: Storage,
    model: Any,
    history: dict[str, list[float]],
    metrics: dict[str, Any],
    begin: float,
) -> None:
    options, output = state.options, state.options.output
    by_id = {image.image_id: image.sha256 for image in state.images}
    features = [state.vectors[by_id[image_id]] for image_id in state.sample_ids]
    metrics["model_check"] = {
        "images": len(features),
        "largest_difference": save_model(
            options.backbone,
            options.pooling,
            state.weights,
            options.seed,
            model,
            state.samples,
            np.stack(features) if features else np.zeros((0, 1), np.float32),
            output / "model.keras",
        ),
    }
    report.write_json(output / "metrics.json", metrics)
    report.write_json(output / "history.json", history)
    report.write_rejects(output / "rejects.csv", state.rejects)
    note = "" if metrics["meaningful"] else ". Random weights: means nothing"
    title = f"{options.backbone}, {metrics['data']['images']} images{note}"
    judged = metrics.get("validation", metrics["train"])
    report.plot(
        output / "accuracy.png",
        history,
        "accuracy",
        title,
        ("majority class", judged["majority_class_accuracy"]),
    )
    report.plot(output / "loss.png", history, "loss", title)
    report.write_json(output / "timings.json", _timings(state, begin))
    if options.publish:
        storage.publish(output, options.publish)


def _timings(state: State, begin: float) -> dict[str, Any]:
    nodes = {
        name: {
            "tasks": int(node["tasks"]),
            "images": int(node["images"]),
            "seconds": round(node["seconds"], 3),
            "images_per_second": round(node["images"] / max(node["seconds"], 1e-9), 2),
            "python_peak_mb": round(node["rss_mb"]),
        }
        for name, node in sorted(state.computed.tasks.items())
    }
    computed = sum(node["images"] for node in nodes.values())
    return {
        "schema": 1,
        "driver": platform.node(),
        "total_seconds": round(time.monotonic() - begin, 3),
        "stages": {name: round(value, 3) for name, value in state.progress.seconds.items()},
        "executors": state.executors,
        "tasks_per_node": {name: node["tasks"] for name, node in nodes.items()},
        "features": {
            "computed": len(state.computed.vectors),
            "cached": len(state.vectors) - len(state.computed.vectors),
            "seconds": round(state.forward_seconds, 3),
            "images_per_second": round(computed / state.forward_seconds, 2) if computed else None,
            "nodes": nodes,
        },
    }


def summary(metrics: dict[str, Any]) -> str:
    """Return the result in one line."""
    name = "validation" if "validation" in metrics else "train"
    part = metrics[name]
    interval = part["auc_interval_95"]
    span = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    note = "" if metrics["meaningful"] else "; random weights, so this means nothing"
    return (
        f"{name}: AUC {part['auc']:.3f}{span}, accuracy {part['accuracy']:.3f} "
        f"(majority class {part['majority_class_accuracy']:.3f}){note}"
    )


__all__ = ["UnusableInput", "run", "summary"]
