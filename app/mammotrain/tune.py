"""Fine-tuning: the network's last block trained on, from activations cached where the rest ends.

The frozen part is never run again: the features of its blocks and the activations that go into
the last block come from the cache. The block learns at a rate of its own, a hundred times lower
than the head's by default, so that it keeps what it has learnt elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mammotrain.backbones import build_tail
from mammotrain.checkpoint import Checkpoints, History, Progressed
from mammotrain.head import Part, measure
from mammotrain.loop import (
    Arrays,
    Floats,
    HeadOptions,
    Labels,
    Rank,
    class_weights,
    forward,
    step_rows,
)


@dataclass(frozen=True)
class TuneOptions:
    """How the last block is trained.

    Attributes:
        epochs: passes over the training images.
        rate: of Adam, for the block; the head keeps the rate it was trained with.
        patience: epochs without a better validation AUC before it stops; 0 never stops.
    """

    epochs: int
    rate: float = 1e-5
    patience: int = 0


@dataclass(frozen=True)
class Inputs:
    """What goes into the last block, and what goes past it.

    Attributes:
        frozen: features of the blocks before it (n, dimension), maybe none of them.
        activations: its input (n, rows * columns * channels).
        labels: shape (n,).
    """

    frozen: Floats
    activations: Floats
    labels: Labels


class Tuner:
    """The last block and a head behind it, trained together.

    Args:
        backbone: its name; its `last` must have the pooling.
        pooling: which features the head takes.
        weights: of the backbone, or None for a random one.
        head: trained on the frozen features; trained on in place.
        options: of the head: batch, rate, L2, dropout, seed.
        tune: of the block.
    """

    def __init__(
        self,
        backbone: str,
        pooling: str,
        weights: Path | None,
        *,
        head: Any,
        options: HeadOptions,
        tune: TuneOptions,
    ) -> None:
        import keras

        self.head, self._options, self._tune = head, options, tune
        self.tail = build_tail(backbone, pooling, weights, options.seed)
        self._block = keras.optimizers.Adam(tune.rate)
        self._top = keras.optimizers.Adam(options.learning_rate)
        self._block.build(self.tail.trainable_variables)
        self._top.build(head.trainable_variables)
        self._step = self._compile()

    def _compile(self) -> Any:
        import tensorflow as tf

        kernels = [v for v in self.head.trainable_variables if v.path.endswith("kernel")]

        def step(frozen: Any, x: Any, y: Any, w: Any, seed: Any) -> None:
            block, top = self.tail.trainable_variables, self.head.trainable_variables
            with tf.GradientTape() as tape:
                features = tf.concat([frozen, self.tail(x)], axis=1)
                p = tf.clip_by_value(forward(self.head, features, seed), 1e-7, 1.0 - 1e-7)
                loss = -tf.reduce_sum(w * (y * tf.math.log(p) + (1.0 - y) * tf.math.log(1.0 - p)))
                loss = loss / tf.cast(tf.shape(y)[0], tf.float32)
                if self._options.l2:
                    squares = tf.add_n([tf.reduce_sum(kernel**2) for kernel in kernels])
                    loss += self._options.l2 * squares
            found = tape.gradient(loss, [*block, *top])
            self._block.apply_gradients(zip(found[: len(block)], block, strict=True))
            self._top.apply_gradients(zip(found[len(block) :], top, strict=True))

        features = self.head.input_shape[1] - self.tail.output_shape[1]
        floats = [(None, features), (None, *self.tail.input_shape[1:]), (None,), (None,)]
        return tf.function(
            step,
            input_signature=[
                *(tf.TensorSpec(shape, tf.float32) for shape in floats),
                tf.TensorSpec((2,), tf.int32),
            ],
            autograph=False,
        )

    def epoch(self, inputs: Inputs, number: int) -> None:
        """Train on all images once; `number` counts from 0 and decides their order."""
        import tensorflow as tf

        weights = class_weights(inputs.labels)
        each = np.where(inputs.labels == 1, weights[1], weights[0]).astype(np.float32)
        options = self._options
        per_epoch = math.ceil(len(each) / options.batch)
        for place, (rows, _) in enumerate(step_rows(len(each), options, number, Rank())):
            moment = number * per_epoch + place
            self._step(
                tf.constant(inputs.frozen[rows]),
                tf.constant(self._shaped(inputs.activations[rows])),
                tf.constant(inputs.labels[rows].astype(np.float32)),
                tf.constant(each[rows]),
                tf.constant(((options.seed * 1_000_003 + moment) % 2**31, 0)),
            )

    def features(self, frozen: Floats, activations: Floats, batch: int = 32) -> Floats:
        """Return the features that the trained block gives, shape (n, dimension)."""
        parts = [
            np.asarray(self.tail(self._shaped(activations[i : i + batch])), np.float32)
            for i in range(0, len(activations), batch)
        ]
        return np.concatenate([frozen, np.concatenate(parts)], axis=1)

    def _shaped(self, activations: Floats) -> Floats:
        return activations.reshape(len(activations), *self.tail.input_shape[1:])

    def state(self) -> Arrays:
        """Return the values of block, head and both optimizers."""
        owners = self._owners()
        return {f"{name}.{i}": np.asarray(v) for name in owners for i, v in enumerate(owners[name])}

    def load(self, state: Arrays) -> None:
        """Take up the values of `state`."""
        for name, variables in self._owners().items():
            for i, variable in enumerate(variables):
                variable.assign(state[f"{name}.{i}"])

    def _owners(self) -> dict[str, Any]:
        return {
            "block": self.tail.variables,
            "head": self.head.variables,
            "block_optimizer": self._block.variables,
            "head_optimizer": self._top.variables,
        }


def fine_tune(
    tuner: Tuner,
    train: Inputs,
    validation: Inputs | None,
    tune: TuneOptions,
    *,
    on_epoch: Callable[[int, dict[str, float]], None] = lambda *_: None,
    checkpoints: Checkpoints | None = None,
) -> tuple[History, int]:
    """Train block and head for `tune.epochs` epochs.

    With `patience`, training stops after that many epochs without a better validation AUC, and
    both are left as they were at the best epoch.

    Args:
        tuner: what is trained.
        train: all training images.
        validation: judged after each epoch, or None.
        tune: how long.
        on_epoch: called with the epoch (from 1) and its numbers, those of an earlier run too.
        checkpoints: where to go on, and what to replace after each epoch.

    Returns:
        Loss, accuracy and AUC after each epoch; the epoch that block and head are of.
    """
    done = (checkpoints.load() if checkpoints else None) or Progressed()
    if done.state:
        tuner.load(done.state)
        for epoch in range(done.epochs):
            on_epoch(epoch + 1, {name: values[epoch] for name, values in done.history.items()})
    while not done.enough(tune.epochs, tune.patience):
        tuner.epoch(train, done.epochs)
        judged = None if validation is None else _part(tuner, validation)
        numbers = measure(tuner.head, _part(tuner, train), judged)
        done.note(tuner.state(), numbers, tune.patience)
        if checkpoints:
            checkpoints.save(done)
        on_epoch(done.epochs, numbers)
    if done.best:
        tuner.load(done.best)
    return done.history, done.best_epoch or done.epochs


def _part(tuner: Tuner, inputs: Inputs) -> Part:
    return tuner.features(inputs.frozen, inputs.activations), inputs.labels
