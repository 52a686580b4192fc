"""Cross-validation by patient: every image is judged by a head that has not seen its patient."""

from __future__ import annotations

from typing import Any

import numpy as np

from mammotrain.assess import beside
from mammotrain.baseline import metadata_scores
from mammotrain.dataset import Image
from mammotrain.groups import judge
from mammotrain.loop import HeadOptions
from mammotrain.metrics import auc
from mammotrain.phases import held_out_scores
from mammotrain.split import folds
from mammotrain.state import State


def cross_validate(state: State, options: HeadOptions, count: int) -> dict[str, Any]:
    """Train a head for each fold on all others and judge all scores together.

    The head and its options are those of the training; no fold chooses anything.

    Args:
        state: with the features of all images.
        options: of the head; `patience` does not count, as nothing is left to choose an epoch by.
        count: of folds.

    Returns:
        AUC with its interval over all images and all breasts, AUC of each fold, and the
        metadata-only baseline, learnt on the same folds, with the paired difference. The score of
        each image goes into `state.out_of_fold`.
    """
    parts = folds(state.images, count, options.seed)
    images: list[Image] = []
    scores, others = [], []
    for number, held in enumerate(parts):
        train = [image for place, part in enumerate(parts) if place != number for image in part]
        images += held
        scores.append(held_out_scores(state, train, held, options).astype(np.float64))
        others.append(metadata_scores(train, held))
    together = np.concatenate(scores)
    known = [found for found in others if found is not None]
    baseline = np.concatenate(known) if len(known) == count else None
    state.out_of_fold = [
        (image.image_id, number, image.label, float(score))
        for number, (part, found) in enumerate(zip(parts, scores, strict=True), 1)
        for image, score in zip(part, found, strict=True)
    ]
    drawn = {"rounds": state.options.bootstrap, "seed": options.seed}
    return {
        "folds": count,
        **judge(images, together, **drawn),
        "auc_of_each": [
            auc([image.label for image in part], found)
            for part, found in zip(parts, scores, strict=True)
        ],
        **beside(images, together, baseline, **drawn),
    }
