"""Results for parts of the images: by view, density, age, machine; and breast by breast."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.dataset import Image, owners
from mammotrain.metrics import auc, auc_interval

AGE_GROUPS = ((0, 39), (40, 49), (50, 59), (60, 69), (70, 200))
SMALLEST = 10  # images; fewer tell nothing


def age_group(age: str) -> str:
    """Return the ten years that an age in years falls into, or nothing."""
    try:
        years = int(float(age))
    except (ValueError, OverflowError):
        return ""
    low, high = next((group for group in AGE_GROUPS if group[0] <= years <= group[1]), (0, 0))
    if not high:
        return ""  # nobody is that old
    return (
        f"under {high + 1}" if low == 0 else f"{low} or older" if high > 99 else f"{low} to {high}"
    )


def group_of(image: Image, name: str) -> str:
    """Return the group of an image for `view`, `density`, `age`, `machine`...; empty: unknown."""
    value = image.about.get(name, "")
    return age_group(value) if name == "age" else value


def by_group(
    images: Sequence[Image], scores: npt.NDArray[Any], *, rounds: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Return images, malignant ones and AUC with its interval for each group that is known.

    Groups of fewer than ten images, or of one class, are listed without an AUC.
    """
    result: dict[str, dict[str, Any]] = {}
    for name in ("view", "laterality", "density", "age", "machine", "site"):
        members: dict[str, list[int]] = defaultdict(list)
        for row, image in enumerate(images):
            if value := group_of(image, name):
                members[value].append(row)
        if members:
            result[name] = {
                value: judge([images[row] for row in rows], scores[rows], rounds=rounds, seed=seed)
                for value, rows in sorted(members.items())
            }
    return result


def judge(
    images: Sequence[Image], scores: npt.NDArray[Any], *, rounds: int, seed: int
) -> dict[str, Any]:
    """Return size, AUC and interval of some images."""
    labels = np.array([image.label for image in images])
    both = len(images) >= SMALLEST and 0 < labels.sum() < len(labels)
    patients = owners(images)
    span = None
    if both:
        span = auc_interval(labels, scores, patients, rounds=rounds, seed=seed)
    return {
        "images": len(images),
        "malignant": int(labels.sum()),
        "auc": auc(labels, scores) if both else None,
        "auc_interval_95": list(span) if span else None,
    }


def by_breast(
    images: Sequence[Image], scores: npt.NDArray[Any]
) -> tuple[list[Image], npt.NDArray[np.float64], int] | None:
    """Average the scores of all views of a breast.

    Returns:
        An image that stands for each breast (malignant if one of its images is), the mean scores,
        and how many images were left out because nobody says which breast they show; None if it is
        not known of any image.
    """
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, image in enumerate(images):
        side = image.about.get("laterality", "")
        if side in ("L", "R"):
            members[image.patient_id, side].append(row)
    if not members:
        return None
    breasts = [
        Image(
            images[rows[0]].image_id,
            who,
            max(images[row].label for row in rows),
            min(images[row].sha256 for row in rows),
        )
        for (who, _), rows in sorted(members.items())
    ]
    means = [float(np.mean(scores[rows])) for _, rows in sorted(members.items())]
    left_out = len(images) - sum(len(rows) for rows in members.values())
    return breasts, np.array(means), left_out


def judge_breasts(
    found: tuple[list[Image], npt.NDArray[np.float64], int] | None, *, rounds: int, seed: int
) -> dict[str, Any] | None:
    """Return `judge` of what `by_breast` gave, and how many images were left out."""
    if found is None:
        return None
    breasts, means, left_out = found
    return {**judge(breasts, means, rounds=rounds, seed=seed), "images_without_side": left_out}
