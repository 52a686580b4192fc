"""Predictions in figures: how many of what, and how good they are where labels are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mammotrain import __version__, groups
from mammotrain.assess import Chosen, assess
from mammotrain.dataset import Image, owners
from mammotrain.inputs import Item
from mammotrain.metrics import evaluate
from mammotrain.predictions import Prediction

if TYPE_CHECKING:
    from mammotrain.predict import Model


def metrics_of(
    items: Sequence[Item],
    found: Sequence[Prediction],
    model: Model,
    warnings: Sequence[str],
    rounds: int,
) -> dict[str, Any]:
    """Return the contents of `metrics.json` of a prediction; README.md has the fields.

    Args:
        items: what was judged.
        found: their predictions, in the same order.
        model: that made them.
        warnings: what a reader has to know.
        rounds: bootstrap draws.
    """
    about = model.description
    scored = [one for one in found if one.score is not None]
    scores = np.array([one.score for one in scored], np.float32)
    quantiles = np.quantile(scores, [0.0, 0.25, 0.5, 0.75, 1.0]) if scored else ()
    return {
        "schema": 1,
        "application": f"mammotrain {__version__}",
        "intended_use": "research only",
        "meaningful": about.meaningful,
        "warnings": list(warnings),
        "model": {
            "sha256": model.sha256,
            "application": about.application,
            "backbone": about.backbone,
            "pooling": about.pooling,
            "trained_on": about.data.get("name", ""),
            "images_trained_on": sum(about.has_seen(one.sha256) for one in scored),
            "threshold": about.threshold,
            "chosen_on": about.chosen_on,
            "temperature": about.temperature,
            "shift": about.shift,
        },
        "data": {
            "images": len(scored),
            "rejected": len(found) - len(scored),
            "reasons": dict(Counter(one.reason for one in found if one.reason).most_common()),
            "warnings": dict(Counter(w for one in scored for w in one.warnings).most_common()),
        },
        "called": dict(Counter(one.called for one in scored)),
        "score_quantiles": [float(value) for value in quantiles],
        "labelled": _judge(items, found, about, rounds),
    }


def _judge(
    items: Sequence[Item], found: Sequence[Prediction], about: Any, rounds: int
) -> dict[str, Any] | None:
    """Return how good the predictions of the labelled images are; None without both classes."""
    known: list[tuple[Image, float]] = []
    for item, one in zip(items, found, strict=True):
        image = item.labelled()
        if image is not None and one.score is not None:
            known.append((image, one.score))
    images = [image for image, _ in known]
    labels = [image.label for image in images]
    if len(set(labels)) < 2:
        return None
    scores = np.array([score for _, score in known], np.float32)
    chosen = Chosen(about.chosen_on, about.threshold, about.temperature, about.shift)
    drawn = {"rounds": rounds, "seed": 0}
    majority = int(sum(labels) * 2 > len(labels))
    patients = owners(images)
    return {
        **evaluate(labels, scores, patients, majority=majority, threshold=about.threshold, **drawn),
        **assess(images, scores, chosen, **drawn),
        "groups": groups.by_group(images, scores, **drawn),
        "per_breast": groups.judge_breasts(groups.by_breast(images, scores), **drawn),
    }


def summary(metrics: dict[str, Any]) -> str:
    """Return the outcome in one line."""
    data, called = metrics["data"], metrics["called"]
    text = (
        f"{data['images']} images judged ({called.get('malignant', 0)} called malignant), "
        f"{data['rejected']} rejected"
    )
    if judged := metrics["labelled"]:
        span = judged["auc_interval_95"]
        interval = f" ({span[0]:.3f} to {span[1]:.3f})" if span else ""
        text += f"; AUC {judged['auc']:.3f}{interval} against the labels"
    return text if metrics["meaningful"] else f"{text}; random weights, so this means nothing"
