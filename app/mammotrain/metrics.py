"""Numbers about predictions, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the area under the ROC curve, ties counted half; NaN with one class only."""
    y = np.asarray(labels).astype(bool)
    s = np.asarray(scores, dtype=np.float64)
    positive, negative = int(y.sum()), int((~y).sum())
    if positive == 0 or negative == 0:
        return float("nan")
    _, inverse, counts = np.unique(s, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle = ends - (counts - 1) / 2.0  # average rank of each distinct score, from 1
    total = float(middle[inverse][y].sum())
    return (total - positive * (positive + 1) / 2.0) / (positive * negative)


def auc_interval(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: Sequence[str],
    *,
    rounds: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the AUC, patients drawn with replacement.

    Images of one patient are not independent, so whole patients are drawn (cluster bootstrap:
    Field and Welsh, 2007, JRSS B 69). Draws with one class only are drawn again, at most ten
    times as often as `rounds`.

    Returns:
        Lower and upper end, or None when fewer than half of `rounds` draws had both classes.
    """
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rows = [np.flatnonzero(owner == i) for i in range(len(names))]
    generator = np.random.default_rng(seed)
    values: list[float] = []
    for _ in range(10 * rounds):
        drawn = generator.integers(0, len(names), len(names))
        index = np.concatenate([rows[i] for i in drawn])
        value = auc(y[index], s[index])
        if not np.isnan(value):
            values.append(value)
            if len(values) == rounds:
                break
    if len(values) < max(rounds / 2, 1):
        return None
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def cross_entropy(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the mean binary cross-entropy in nats; scores are cut to 1e-7 from 0 and 1."""
    y = np.asarray(labels, dtype=np.float64)
    s = np.clip(np.asarray(scores, dtype=np.float64), 1e-7, 1.0 - 1e-7)
    return float(-np.mean(y * np.log(s) + (1.0 - y) * np.log(1.0 - s)))


def accuracy(labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Return the share of images on the right side of the threshold."""
    predicted = np.asarray(scores, dtype=np.float64) >= threshold
    return float(np.mean(predicted == np.asarray(labels).astype(bool)))


def evaluate(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: Sequence[str],
    *,
    majority: int,
    rounds: int = 1000,
    seed: int = 0,
    threshold: float = 0.5,
) -> dict[str, Any]:
    """Return all metrics of one part.

    Args:
        labels: 1 for malignant, shape (n,).
        scores: predicted probability of malignant, shape (n,).
        patients: patient of each image.
        majority: the class more frequent in training; its constant prediction is the baseline.
        rounds: bootstrap draws.
        seed: of the bootstrap.
        threshold: at or above it an image is called malignant.
    """
    y = np.asarray(labels).astype(bool)
    called = np.asarray(scores, dtype=np.float64) >= threshold
    tp, fp = int((called & y).sum()), int((called & ~y).sum())
    fn, tn = int((~called & y).sum()), int((~called & ~y).sum())
    interval = auc_interval(y, scores, patients, rounds=rounds, seed=seed)
    return {
        "images": len(y),
        "patients": len(set(patients)),
        "benign": int((~y).sum()),
        "malignant": int(y.sum()),
        "auc": auc(y, scores),
        "auc_interval_95": list(interval) if interval else None,
        "loss": cross_entropy(y, scores),
        "accuracy": accuracy(y, scores, threshold),
        "majority_class_accuracy": float(np.mean(y == bool(majority))),
        "sensitivity": tp / (tp + fn) if tp + fn else float("nan"),
        "specificity": tn / (tn + fp) if tn + fp else float("nan"),
        "confusion": {
            "true_positive": tp,
            "false_positive": fp,
            "true_negative": tn,
            "false_negative": fn,
        },
    }
