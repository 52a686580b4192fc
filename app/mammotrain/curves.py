"""What a threshold trades: ROC and precision-recall curves, and the points read off them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def roc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return the ROC curve: false and true positive rates and their thresholds, from (0, 0).

    A point for each distinct score; at or above its threshold an image is called malignant. The
    first threshold is infinite. Empty with one class only.
    """
    y, s = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    if y.all() or not y.any():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    order = np.argsort(-s, kind="stable")
    ordered = s[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(s) - 1)
    true = np.cumsum(y[order])[last]
    false = last + 1 - true
    return (
        np.append(0.0, false / (~y).sum()),
        np.append(0.0, true / y.sum()),
        np.append(np.inf, ordered[last]),
    )


def precision_recall(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return recall and precision at each distinct score, the highest first; empty as in `roc`."""
    y = np.asarray(labels).astype(bool)
    false, true, _ = roc(y, scores)
    if not len(true):
        return true, false
    hits, alarms = true[1:] * y.sum(), false[1:] * (~y).sum()
    return true[1:], hits / (hits + alarms)


def average_precision(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the area under the precision-recall curve as a sum of steps; NaN with one class.

    No interpolation between points (Davis and Goadrich, 2006): it would be too optimistic.
    """
    recall, precision = precision_recall(labels, scores)
    if not len(recall):
        return float("nan")
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def sensitivity_at(labels: npt.ArrayLike, scores: npt.ArrayLike, specificity: float) -> float:
    """Return the highest sensitivity of all thresholds with at least this specificity."""
    false, true, _ = roc(labels, scores)
    if not len(true):
        return float("nan")
    return float(true[1.0 - false >= specificity - 1e-12].max())


def specificity_at(labels: npt.ArrayLike, scores: npt.ArrayLike, sensitivity: float) -> float:
    """Return the highest specificity of all thresholds with at least this sensitivity."""
    false, true, _ = roc(labels, scores)
    if not len(true):
        return float("nan")
    return float(1.0 - false[true >= sensitivity - 1e-12].min())


def best_threshold(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the threshold with the largest sum of sensitivity and specificity (Youden, 1950).

    Halfway to the next lower score, so that it does not hang on one image; of several equally good
    ones the highest. 0.5 with one class only.
    """
    false, true, thresholds = roc(labels, scores)
    if not len(true):
        return 0.5
    best = int(np.argmax(true - false))
    if best == 0:
        return float(np.nextafter(thresholds[1], np.inf))
    below = thresholds[best + 1] if best + 1 < len(thresholds) else 0.0
    return float((thresholds[best] + below) / 2.0)
