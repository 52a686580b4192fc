"""Everything that is said about a part of the split beyond accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain import calibration, curves, groups
from mammotrain.baseline import metadata_scores
from mammotrain.bootstrap import Statistic, intervals
from mammotrain.dataset import Image, owners
from mammotrain.metrics import confusion, paired_auc_difference

Floats = npt.NDArray[np.float64]
FIXED = (0.8, 0.9, 0.95)
MOST_POINTS = 200  # of a curve in metrics.json


@dataclass(frozen=True)
class Chosen:
    """What is read off one part (validation, where there is one) and applied to all.

    Attributes:
        part: its name.
        threshold: at or above it an image is called malignant.
        temperature: divides the log odds.
        shift: is added to them.
    """

    part: str
    threshold: float = 0.5
    temperature: float = 1.0
    shift: float = 0.0


def choose(part: str, labels: npt.ArrayLike, scores: npt.ArrayLike) -> Chosen:
    """Choose threshold (Youden's index) and temperature on a part."""
    temperature, shift = calibration.fit_temperature(labels, scores)
    return Chosen(part, curves.best_threshold(labels, scores), temperature, shift)


def assess(
    images: Sequence[Image],
    scores: npt.NDArray[Any],
    chosen: Chosen,
    *,
    rounds: int,
    seed: int,
) -> dict[str, Any]:
    """Return discrimination, operating points and calibration of a part; README.md has the fields.

    Args:
        images: of the part.
        scores: predicted probability of malignant, shape (images,).
        chosen: threshold and temperature.
        rounds: bootstrap draws.
        seed: of the bootstrap.
    """
    labels = np.array([image.label for image in images])
    patients = owners(images)
    statistics: dict[str, Statistic] = {
        "auc_pr": curves.average_precision,
        "brier": calibration.brier,
        **{f"sensitivity {x}": _at(curves.sensitivity_at, x) for x in FIXED},
        **{f"specificity {x}": _at(curves.specificity_at, x) for x in FIXED},
    }
    spans = intervals(statistics, labels, scores, patients, rounds=rounds, seed=seed)

    def value(name: str) -> dict[str, Any]:
        span = spans[name]
        found = statistics[name](labels.astype(bool), np.asarray(scores, np.float64))
        return {"value": found, "interval_95": list(span) if span else None}

    smooth = calibration.calibrated(scores, chosen.temperature, chosen.shift)
    false, true, _ = curves.roc(labels, scores)
    recall, precision = curves.precision_recall(labels, scores)
    called = np.asarray(scores) >= chosen.threshold
    return {
        "auc_pr": value("auc_pr"),
        "brier": value("brier"),
        "sensitivity_at_specificity": {str(x): value(f"sensitivity {x}") for x in FIXED},
        "specificity_at_sensitivity": {str(x): value(f"specificity {x}") for x in FIXED},
        "at_threshold": {"threshold": chosen.threshold, **confusion(labels, called)},
        "calibration": {
            "error": calibration.calibration_error(labels, scores),
            "reliability": calibration.reliability(labels, scores),
        },
        "calibrated": {
            "brier": calibration.brier(labels, smooth),
            "error": calibration.calibration_error(labels, smooth),
            "reliability": calibration.reliability(labels, smooth),
        },
        "roc": _points(false_positive_rate=false, true_positive_rate=true),
        "precision_recall": _points(recall=recall, precision=precision),
    }


def compare(
    train: Sequence[Image],
    images: Sequence[Image],
    scores: npt.NDArray[Any],
    *,
    rounds: int,
    seed: int,
) -> dict[str, Any]:
    """Return results by group and breast, and the metadata-only baseline beside the model."""
    return {
        "groups": groups.by_group(images, scores, rounds=rounds, seed=seed),
        **beside(images, scores, metadata_scores(train, images), rounds=rounds, seed=seed),
    }


def beside(
    images: Sequence[Image],
    scores: npt.NDArray[Any],
    others: npt.NDArray[Any] | None,
    *,
    rounds: int,
    seed: int,
) -> dict[str, Any]:
    """Return the results by breast, and other scores of the same images beside the model's.

    Args:
        images: judged.
        scores: of the model.
        others: of the metadata-only baseline; None where nothing is known.
        rounds: bootstrap draws.
        seed: of the bootstrap.

    Returns:
        `per_breast` and `metadata_baseline`, each None where it is not known; the baseline is in
        `per_breast` as well, judged by breast.
    """
    drawn = {"rounds": rounds, "seed": seed}

    def compared(units: Sequence[Image], one: Any, other: Any) -> dict[str, Any]:
        labels = [image.label for image in units]
        patients = owners(units)
        difference = paired_auc_difference(labels, one, other, patients, **drawn)
        return {**groups.judge(units, other, **drawn), "model_minus_baseline": difference}

    result: dict[str, Any] = {"per_breast": None, "metadata_baseline": None}
    breasts = groups.by_breast(images, scores)
    result["per_breast"] = groups.judge_breasts(breasts, **drawn)
    if others is not None:
        result["metadata_baseline"] = compared(images, scores, others)
        if breasts and (theirs := groups.by_breast(images, others)):
            result["per_breast"]["metadata_baseline"] = compared(breasts[0], breasts[1], theirs[1])
    return result


def _at(statistic: Any, fixed: float) -> Statistic:
    return lambda labels, scores: float(statistic(labels, scores, fixed))


def _points(**columns: Floats) -> Mapping[str, list[float]]:
    """Return a curve as lists of equal length, thinned out to what a plot can show."""
    length = len(next(iter(columns.values())))
    kept = np.unique(np.linspace(0, length - 1, min(length, MOST_POINTS)).round().astype(int))
    return {
        name: [round(float(value), 6) for value in values[kept]] for name, values in columns.items()
    }
