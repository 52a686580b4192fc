"""What the result files say; README.md describes every field."""

from __future__ import annotations

import contextlib
import platform
from collections import Counter
from dataclasses import asdict
from importlib import metadata
from typing import Any

from mammotrain import __version__
from mammotrain.assess import assess, choose, compare
from mammotrain.crossval import cross_validate
from mammotrain.dataset import Image, owners, without_patient
from mammotrain.head import predict
from mammotrain.loop import head_options
from mammotrain.metrics import evaluate
from mammotrain.state import State


def metrics_of(state: State, parts: dict[str, list[Image]], model: Any) -> dict[str, Any]:
    """Return the contents of `metrics.json`, all but the check of the saved model."""
    options = state.options
    labels = [image.label for image in parts["train"]]
    majority = int(sum(labels) * 2 > len(labels))
    scores = {name: predict(model, state.arrays(images)[0]) for name, images in parts.items()}
    judged = "validation" if "validation" in parts else "train"
    chosen = choose(judged, [image.label for image in parts[judged]], scores[judged])
    found: dict[str, Any] = {}
    for number, (name, images) in enumerate(parts.items(), 1):
        truth = [image.label for image in images]
        patients = owners(images)
        drawn = {"rounds": options.bootstrap, "seed": options.seed}
        found[name] = evaluate(truth, scores[name], patients, majority=majority, **drawn)
        found[name].update(assess(images, scores[name], chosen, **drawn))
        if name != "train":
            found[name].update(compare(parts["train"], images, scores[name], **drawn))
        state.progress.advance("evaluate", number, len(parts))
    validated = None
    if options.folds:
        validated = cross_validate(state, head_options(options), options.folds)
    return {
        "schema": 1,
        "application": f"mammotrain {__version__}",
        "meaningful": state.weights is not None,
        "warnings": state.progress.warnings,
        "seed": options.seed,
        "epochs": options.epochs,
        "backbone": options.backbone,
        "weights": state.key.weights,
        "head": {
            "units": options.head_units,
            "dropout": options.dropout,
            "l2": options.l2,
            "learning_rate": options.learning_rate,
            "batch": options.head_batch,
        },
        "training": {
            "strategy": options.strategy,
            "ranks": 1 if options.strategy == "local" else sum(state.executors.values()),
            "epoch": state.epoch,
            "patience": options.patience,
            "fine_tune": options.fine_tune,
            "fine_tune_rate": options.fine_tune_rate if options.fine_tune else None,
            "fine_tune_epoch": state.tune_epoch,
            "skipped_partitions": state.skipped_partitions,
        },
        "features": {
            "key": state.key.digest(),
            "pooling": state.key.pooling,
            "fit": state.key.fit,
            "precision": state.key.precision,
            "augment": options.augment,
            "dimension": state.dimension,
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
            "warnings": _warnings(state),
        },
        "split": {
            "by": "patient" if state.dataset.by_patient else "image",
            "parts": list(parts),
            "without_patient": without_patient(state.images),
        },
        "threshold": 0.5,
        "chosen": asdict(chosen),
        "bootstrap": {"rounds": options.bootstrap, "unit": "patient", "level": 0.95},
        **({"cross_validation": validated} if validated else {}),
        **found,
    }


def _warnings(state: State) -> dict[str, int]:
    """Return how many of the used images have which warning."""
    counts: Counter[str] = Counter()
    for image in state.images:
        counts.update({*image.warnings, *state.warnings.get(image.sha256, ())})
    return dict(sorted(counts.items()))


def timings_of(state: State, total: float) -> dict[str, Any]:
    """Return the contents of `timings.json`; `total` is the wall time so far in seconds."""
    nodes = node_figures(state.computed.tasks)
    done = sum(int(node["images"]) for node in nodes.values())
    return {
        "schema": 1,
        "driver": platform.node(),
        "environment": environment(),
        "total_seconds": round(total, 3),
        "stages": {name: round(value, 3) for name, value in state.progress.seconds.items()},
        "executors": state.executors,
        "tasks_per_node": {name: node["tasks"] for name, node in nodes.items()},
        "features": {
            "computed": len(state.computed.vectors),
            "cached": len(state.vectors) - len(state.computed.vectors),
            "seconds": round(state.compute_seconds, 3),
            "images_per_second": round(done / state.compute_seconds, 2) if done else None,
            "nodes": nodes,
        },
    }


def node_figures(tasks: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return what each node did, for `timings.json`; `tasks` as in `cache.FeatureRows`."""
    return {
        name: {
            "tasks": int(node["tasks"]),
            "images": int(node["images"]),
            "seconds": round(node["seconds"], 3),
            "images_per_second": round(node["images"] / max(node["seconds"], 1e-9), 2),
            "python_peak_mb": round(node["rss_mb"]),
        }
        for name, node in sorted(tasks.items())
    }


def environment() -> dict[str, str]:
    """Return the versions of what the run stands on."""
    names = ("keras", "numpy", "pydicom", "pyspark", "tensorflow", "tensorflow-cpu")
    found = {"mammotrain": __version__, "python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


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
