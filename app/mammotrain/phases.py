"""The two phases of a training: a head on frozen features, then the last block with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mammotrain.backbones import find
from mammotrain.checkpoint import Checkpoints, History
from mammotrain.dataset import Image
from mammotrain.head import predict
from mammotrain.loop import Floats, HeadOptions
from mammotrain.state import State
from mammotrain.train import train_head
from mammotrain.tune import Inputs, TuneOptions, Tuner, fine_tune

OnEpoch = Callable[[int, dict[str, float]], None]


def second_phase(
    state: State,
    parts: dict[str, list[Image]],
    head: Any,
    options: HeadOptions,
    *,
    history: History,
    on_epoch: OnEpoch,
    checkpoints: Checkpoints | None = None,
) -> tuple[Tuner, int]:
    """Fine-tune behind a trained head, and put the features of the trained block into the state.

    Args:
        state: with activations; its vectors are replaced.
        parts: of the split.
        head: trained; trained on in place.
        options: of the head.
        history: of the first phase; gets the epochs of this one.
        on_epoch: called with the epoch of this phase (from 1) and its numbers.
        checkpoints: of this phase.

    Returns:
        Block and head, and the epoch of this phase (from 1) that they are of.
    """
    tuner = _tuner(state, head, options)
    found, epoch = fine_tune(
        tuner,
        inputs(state, parts["train"]),
        inputs(state, parts["validation"]) if "validation" in parts else None,
        _tune_options(state, options),
        on_epoch=on_epoch,
        checkpoints=checkpoints,
    )
    for name, values in found.items():
        history[name] += values
    whole = inputs(state, state.images)
    vectors = tuner.features(whole.frozen, whole.activations)
    state.untuned = state.vectors
    state.vectors = {
        image.sha256: vector for image, vector in zip(state.images, vectors, strict=True)
    }
    return tuner, epoch


def held_out_scores(
    state: State, train: list[Image], held: list[Image], options: HeadOptions
) -> Floats:
    """Train both phases on some images and return the scores of others, shape (n,)."""
    options = replace(options, patience=0)  # nothing is left to choose an epoch by
    if state.untuned:  # the tuned features have seen the patients that are held out
        state = replace(state, vectors=state.untuned)
    model, _, _ = train_head(state.training_arrays(train), None, options, lambda *_: None)
    if not state.activations:
        return predict(model, state.arrays(held)[0])
    tuner = _tuner(state, model, options)
    fine_tune(tuner, inputs(state, train), None, _tune_options(state, options))
    judged = inputs(state, held)
    return predict(model, tuner.features(judged.frozen, judged.activations))


def inputs(state: State, images: list[Image]) -> Inputs:
    """Return what fine-tuning needs of some images."""
    last = find(state.key.backbone).last[state.key.pooling]
    matrix, labels = state.arrays(images)
    activations = np.stack([state.activations[image.sha256] for image in images])
    return Inputs(matrix[:, : last.frozen], activations, labels)


def _tuner(state: State, head: Any, options: HeadOptions) -> Tuner:
    key = state.key
    return Tuner(
        key.backbone,
        key.pooling,
        state.weights,
        head=head,
        options=options,
        tune=_tune_options(state, options),
    )


def _tune_options(state: State, head: HeadOptions) -> TuneOptions:
    options = state.options
    return TuneOptions(options.fine_tune, options.fine_tune_rate, head.patience)
