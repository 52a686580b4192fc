"""Whether a score of 0.3 means three in ten: Brier score, reliability and temperature."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BINS = 10


def brier(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the mean squared difference of score and truth (Brier, 1950); 0 is best."""
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    return float(np.mean((s - y) ** 2))


def reliability(
    labels: npt.ArrayLike, scores: npt.ArrayLike, bins: int = BINS
) -> list[dict[str, Any]]:
    """Return for each tenth of the scale that holds images: how many, mean score, share malignant.

    Returns:
        Dictionaries with `low`, `high`, `images`, `score`, `malignant`; empty tenths are left out.
    """
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    place = np.clip((s * bins).astype(int), 0, bins - 1)
    return [
        {
            "low": number / bins,
            "high": (number + 1) / bins,
            "images": int(inside.sum()),
            "score": float(s[inside].mean()),
            "malignant": float(y[inside].mean()),
        }
        for number in range(bins)
        if (inside := place == number).any()
    ]


def calibration_error(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the expected calibration error: the mean gap of `reliability`, weighted by images."""
    parts = reliability(labels, scores)
    total = sum(part["images"] for part in parts)
    return float(sum(p["images"] * abs(p["score"] - p["malignant"]) for p in parts) / total)


def logit(scores: npt.ArrayLike) -> Floats:
    """Return log odds; scores are cut to 1e-7 from 0 and 1."""
    s = np.clip(np.asarray(scores, dtype=np.float64), 1e-7, 1.0 - 1e-7)
    return np.asarray(np.log(s / (1.0 - s)))


def sigmoid(values: npt.ArrayLike) -> Floats:
    """Return probabilities of log odds, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(values, dtype=np.float64))))


def fit_temperature(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[float, float]:
    """Return the temperature and the shift that calibrate scores (Guo et al., 2017, ICML).

    The log odds are divided by the temperature and moved by the shift; both minimise the
    cross-entropy. The shift makes up for class weights, which move all scores towards the rare
    class. A prior of one image of each class at even odds keeps both finite where the scores
    separate the classes.

    Returns:
        Temperature (0.05 to 20) and shift; 1 and 0 with one class only.
    """
    y = np.asarray(labels, dtype=np.float64)
    if len(np.unique(y)) < 2:
        return 1.0, 0.0
    x = logit(scores)
    y = np.concatenate([y, [0.0, 1.0]])
    x = np.concatenate([x, [x.mean(), x.mean()]])
    slope, shift = 1.0, 0.0
    for _ in range(100):  # Newton's method on a convex function of two variables
        p = sigmoid(slope * x + shift)
        weight = np.maximum(p * (1.0 - p), 1e-9)
        gradient = np.array([np.sum((p - y) * x), np.sum(p - y)])
        hessian = np.array(
            [[np.sum(weight * x * x), np.sum(weight * x)], [np.sum(weight * x), np.sum(weight)]]
        )
        step = np.linalg.solve(hessian + 1e-6 * np.eye(2), gradient)
        step /= max(1.0, float(np.abs(step).max()))
        slope, shift = slope - float(step[0]), shift - float(step[1])
        if float(np.abs(step).max()) < 1e-9:
            break
    # scores that order the images the wrong way are flattened, not turned round
    slope = min(max(slope, 0.05), 20.0)
    return 1.0 / slope, shift


def calibrated(scores: npt.ArrayLike, temperature: float, shift: float) -> Floats:
    """Return scores with a temperature and a shift applied."""
    return sigmoid(logit(scores) / temperature + shift)
