"""What can be told without looking at a pixel: age, density, view, side, machine and site.

A model that does not beat this has learnt who is screened where, not what cancer looks like.
Nothing that follows from the diagnosis (biopsy, BI-RADS assessment) is ever used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mammotrain.calibration import sigmoid
from mammotrain.dataset import ABOUT, Image
from mammotrain.loop import class_weights

Floats = npt.NDArray[np.float64]
RAREST = 5  # images; rarer values of a property count as unknown


class Metadata:
    """Turns what is known about images into numbers; learnt on training images.

    Age is standardised (unknown: the mean, and a column that says so), the others become a column
    for each value that at least five training images have.
    """

    def __init__(self, images: Sequence[Image]) -> None:
        ages = [years for image in images if (years := _age(image)) is not None]
        self._mean = float(np.mean(ages)) if ages else 0.0
        self._spread = float(np.std(ages)) or 1.0 if ages else 1.0
        self.columns: list[tuple[str, str]] = []
        if ages:
            self.columns += [("age", "years"), ("age", "unknown")]
        for name in ABOUT:
            if name == "age":
                continue
            values = [image.about.get(name, "") for image in images]
            for value in sorted(set(values)):
                if value and RAREST <= values.count(value) < len(values):
                    self.columns.append((name, value))

    def matrix(self, images: Sequence[Image]) -> Floats:
        """Return the numbers of some images, shape (images, columns)."""
        result = np.zeros((len(images), len(self.columns)))
        for row, image in enumerate(images):
            age = _age(image)
            for column, (name, value) in enumerate(self.columns):
                if (name, value) == ("age", "years"):
                    cell = 0.0 if age is None else (age - self._mean) / self._spread
                elif (name, value) == ("age", "unknown"):
                    cell = float(age is None)
                else:
                    cell = float(image.about.get(name, "") == value)
                result[row, column] = cell
        return result


def _age(image: Image) -> float | None:
    try:
        return float(image.about["age"])
    except (KeyError, ValueError):
        return None


def metadata_scores(train: Sequence[Image], images: Sequence[Image]) -> Floats | None:
    """Return the scores of a logistic regression on metadata alone, shape (images,).

    Args:
        train: learnt on these.
        images: judged.

    Returns:
        None where nothing is known about the training images.
    """
    metadata = Metadata(train)
    if not metadata.columns:
        return None
    labels = np.array([image.label for image in train], dtype=np.int64)
    slopes, start = fit_logistic(metadata.matrix(train), labels)
    return sigmoid(metadata.matrix(images) @ slopes + start)


def fit_logistic(matrix: Floats, labels: npt.NDArray[np.int64]) -> tuple[Floats, float]:
    """Fit a logistic regression by Newton's method, classes balanced, slopes held small (ridge).

    Returns:
        Slopes (columns,) and intercept. scikit-learn's LogisticRegression with C=1 and
        class_weight="balanced" gives the same, but takes seconds to import.
    """
    weights = class_weights(labels)
    each = np.where(labels == 1, weights[1], weights[0])
    x = np.column_stack([matrix, np.ones(len(matrix))])
    penalty = np.diag([1.0] * matrix.shape[1] + [1e-9])
    found = np.zeros(x.shape[1])
    for _ in range(50):
        p = sigmoid(x @ found)
        gradient = x.T @ (each * (p - labels)) + penalty @ found
        hessian = (x.T * (each * p * (1.0 - p))) @ x + penalty
        step = np.linalg.solve(hessian, gradient)
        found -= step / max(1.0, float(np.abs(step).max()) / 5.0)
        if float(np.abs(step).max()) < 1e-9:
            break
    return found[:-1], float(found[-1])
