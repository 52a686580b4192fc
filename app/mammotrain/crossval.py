"""Cross-validation by patient: every image is judged by a head that has not seen its patient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mammotrain.baseline import metadata_scores
from mammotrain.dataset import Image
from mammotrain.groups import by_breast, judge
from mammotrain.head import predict
from mammotrain.loop import HeadOptions
from mammotrain.metrics import auc, paired_auc_difference
from mammotrain.split import folds
from mammotrain.state import State
from mammotrain.train import train_head


def cross_validate(state: State, options: HeadOptions, count: int) -> dict[str, Any]:
    """Train a head for each fold on all others and judge all scores together.

    The head and its options are those of the training; no fold chooses anything.

    Args:
        state: with the features of all images.
        options: of the head; `patience` does not count, as nothing is left to choose an epoch by.
        count: of folds.

    Returns:
        AUC with its interval over all images and all breasts, AUC of each fold, and the
        metadata-only baseline, learnt on the same folds, with the paired difference.
    """
    parts = folds(state.images, count, options.seed)
    images: list[Image] = []
    scores, others = [], []
    for number, held in enumerate(parts):
        train = [image for place, part in enumerate(parts) if place != number for image in part]
        model, _, _ = train_head(
            state.arrays(train), None, replace(options, patience=0), lambda *_: None
        )
        images += held
        scores.append(predict(model, state.arrays(held)[0]).astype(np.float64))
        others.append(metadata_scores(train, held))
    together = np.concatenate(scores)
    drawn = {"rounds": state.options.bootstrap, "seed": options.seed}
    labels = [image.label for image in images]
    result: dict[str, Any] = {
        "folds": count,
        **judge(images, together, **drawn),
        "auc_of_each": [
            auc([image.label for image in part], found)
            for part, found in zip(parts, scores, strict=True)
        ],
        "per_breast": None,
        "metadata_baseline": None,
    }
    if breasts := by_breast(images, together):
        result["per_breast"] = judge(*breasts, **drawn)
    known = [found for found in others if found is not None]
    if len(known) == count:
        baseline = np.concatenate(known)
        patients = [image.patient_id for image in images]
        result["metadata_baseline"] = {
            **judge(images, baseline, **drawn),
            "model_minus_baseline": paired_auc_difference(
                labels, together, baseline, patients, **drawn
            ),
        }
    return result
