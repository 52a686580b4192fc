"""Numbers about predictions, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.bootstrap import multiplicities, percentiles

Floats = npt.NDArray[np.float64]
PAIRS_AT_ONCE = 4_000_000  # of images of the two classes: 16 MB


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

    See `bootstrap.draws`: samples with one class only are left out.

    Returns:
        Lower and upper end, or None when fewer than half of the samples had both classes.
    """
    return percentiles(auc_draws(labels, scores, patients, rounds=rounds, seed=seed), level)


def auc_draws(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: Sequence[str],
    *,
    rounds: int,
    seed: int,
) -> Floats:
    """Return the AUC of each of the samples of `bootstrap.draws`, NaN where one has one class.

    A sample is a weight for each image, and its AUC the weighted share of pairs in the right order:
    two matrix products for all samples, instead of a ranking for each.
    """
    y, s = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    weights = multiplicities(patients, rounds, seed)
    ill, well = weights[:, y], weights[:, ~y]
    right = np.zeros(rounds)
    block = max(1, PAIRS_AT_ONCE // max(1, int(y.sum())))
    for start in range(0, well.shape[1], block):
        others = s[~y][start : start + block]
        order = (s[y][:, None] > others) + np.float32(0.5) * (s[y][:, None] == others)
        right += np.einsum(
            "ij,ij->i", ill @ order.astype(np.float32), well[:, start : start + block]
        )
    pairs = ill.sum(axis=1, dtype=np.float64) * well.sum(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(pairs > 0, right / pairs, np.nan))


def paired_auc_difference(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    others: npt.ArrayLike,
    patients: Sequence[str],
    *,
    rounds: int,
    seed: int,
) -> dict[str, Any]:
    """Return by how much the AUC of `scores` is above that of `others`, on the same draws."""
    drawn = {"rounds": rounds, "seed": seed}
    found = auc_draws(labels, scores, patients, **drawn)
    span = percentiles(found - auc_draws(labels, others, patients, **drawn))
    return {
        "difference": auc(labels, scores) - auc(labels, others),
        "interval_95": list(span) if span else None,
    }


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
        **confusion(y, called),
    }


def confusion(labels: npt.ArrayLike, called: npt.ArrayLike) -> dict[str, Any]:
    """Return sensitivity, specificity and the confusion matrix of decisions."""
    y, c = np.asarray(labels).astype(bool), np.asarray(called).astype(bool)
    tp, fp = int((c & y).sum()), int((c & ~y).sum())
    fn, tn = int((~c & y).sum()), int((~c & ~y).sum())
    return {
        "sensitivity": tp / (tp + fn) if tp + fn else float("nan"),
        "specificity": tn / (tn + fp) if tn + fp else float("nan"),
        "confusion": {
            "true_positive": tp,
            "false_positive": fp,
            "true_negative": tn,
            "false_negative": fn,
        },
    }
