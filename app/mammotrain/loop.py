"""The one training loop, the same for a single process and for several that share the gradients.

Which rows make a step, and which of their activations dropout drops, follows from the seed, the
epoch and the step alone. A step's loss is divided by the rows of all ranks, so that the sum of the
ranks' gradients is the gradient of the whole batch.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

STRATEGIES = ("local", "sync", "averaging")

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class HeadOptions:
    """How the head is made and trained.

    Attributes:
        units: of the hidden layer; 0 for none (logistic regression).
        dropout: share of the hidden activations, or of the features, that a step drops.
        l2: weight of the squared kernels in the loss.
        learning_rate: of Adam.
        epochs: passes over the training images.
        batch: images in a step, those of all ranks together.
        patience: epochs without a better validation AUC before training stops; 0 never stops.
        seed: of everything random.
    """

    units: int = 256
    dropout: float = 0.5
    l2: float = 0.0
    learning_rate: float = 1e-3
    epochs: int = 10
    batch: int = 32
    patience: int = 0
    seed: int = 0


def head_options(options: argparse.Namespace) -> HeadOptions:
    """Return what the command line says about the head."""
    return HeadOptions(
        units=options.head_units,
        dropout=options.dropout,
        l2=options.l2,
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        batch=options.head_batch,
        patience=options.patience,
        seed=options.seed,
    )


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this is."""

    number: int = 0
    world: int = 1


def class_weights(labels: Labels) -> dict[int, float]:
    """Return weights that give both classes the same total, 1 on average over the images."""
    counts = np.bincount(labels, minlength=2)
    return {i: float(len(labels) / (2.0 * counts[i])) for i in (0, 1)}


def step_rows(rows: int, options: HeadOptions, epoch: int, rank: Rank) -> list[tuple[Any, int]]:
    """Return the rows of a rank in each step of an epoch, and the size of the whole step.

    Every rank gets the same number of steps; in the last ones some ranks may have no rows.
    """
    order = np.random.default_rng((options.seed, epoch)).permutation(rows)
    steps = []
    for start in range(0, rows, options.batch):
        whole = order[start : start + options.batch]
        steps.append((whole[rank.number :: rank.world], len(whole)))
    return steps


class Trainer:
    """Trains a model on features, an epoch at a time.

    Args:
        model: of `head.build_head`.
        train: features (n, dimension) and labels (n,), all of them on every rank.
        options: see there.
        rank: this process.
        strategy: a `tf.distribute` strategy under which `model` was built, or None.
    """

    def __init__(
        self,
        model: Any,
        train: tuple[Floats, Labels],
        options: HeadOptions,
        rank: Rank | None = None,
        strategy: Any = None,
    ) -> None:
        import contextlib

        import keras

        self.model = model
        self._matrix, self._labels = train
        self._options, self._rank = options, rank or Rank()
        weights = class_weights(self._labels)
        self._weights = np.where(self._labels == 1, weights[1], weights[0]).astype(np.float32)
        self._strategy = strategy
        with strategy.scope() if strategy else contextlib.nullcontext():
            self.optimizer = keras.optimizers.Adam(options.learning_rate)
            self.optimizer.build(model.trainable_variables)
        self._step = self._compile()

    def _compile(self) -> Any:
        """Return the function of one step; every call has the same shape, filled up with zeros."""
        import tensorflow as tf

        options, rank, model = self._options, self._rank, self.model
        kernels = [v for v in model.trainable_variables if v.path.endswith("kernel")]

        def gradients(x: Any, y: Any, w: Any, total: Any, seed: Any) -> None:
            with tf.GradientTape() as tape:
                p = tf.clip_by_value(forward(model, x, seed), 1e-7, 1.0 - 1e-7)
                loss = -tf.reduce_sum(w * (y * tf.math.log(p) + (1.0 - y) * tf.math.log(1.0 - p)))
                loss = loss / total
                if options.l2:
                    squares = tf.add_n([tf.reduce_sum(kernel**2) for kernel in kernels])
                    loss += options.l2 * squares / rank.world
            variables = model.trainable_variables
            found = tape.gradient(loss, variables)
            # Under a strategy this sums over the ranks.
            self.optimizer.apply_gradients(zip(found, variables, strict=True))

        def step(x: Any, y: Any, w: Any, total: Any, seed: Any) -> None:
            if self._strategy is None:
                gradients(x, y, w, total, seed)
            else:
                self._strategy.run(gradients, args=(x, y, w, total, seed))

        share = math.ceil(options.batch / rank.world)
        floats = tf.float32
        return tf.function(
            step,
            input_signature=[
                tf.TensorSpec((share, self._matrix.shape[1]), floats),
                *(tf.TensorSpec((share,), floats), tf.TensorSpec((share,), floats)),
                *(tf.TensorSpec((), floats), tf.TensorSpec((2,), tf.int32)),
            ],
            autograph=False,
        )

    def epoch(self, number: int) -> None:
        """Train on all rows once; `number` counts from 0 and decides their order."""
        import tensorflow as tf

        options, rank = self._options, self._rank
        share = math.ceil(options.batch / rank.world)
        steps = step_rows(len(self._labels), options, number, rank)
        for step, (rows, total) in enumerate(steps):
            x = np.zeros((share, self._matrix.shape[1]), np.float32)
            y, w = np.zeros(share, np.float32), np.zeros(share, np.float32)
            x[: len(rows)], y[: len(rows)] = self._matrix[rows], self._labels[rows]
            w[: len(rows)] = self._weights[rows]
            moment = number * len(steps) + step
            seed = ((options.seed * 1_000_003 + moment) % 2**31, rank.number)
            self._step(*(tf.constant(v) for v in (x, y, w, np.float32(total))), tf.constant(seed))

    def state(self) -> Arrays:
        """Return the values of model and optimizer."""
        return {
            **{f"model.{i}": np.asarray(v) for i, v in enumerate(self.model.variables)},
            **{f"optimizer.{i}": np.asarray(v) for i, v in enumerate(self.optimizer.variables)},
        }

    def load(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up the values of `state`."""
        for name, owner in (("model", self.model), ("optimizer", self.optimizer)):
            for i, variable in enumerate(owner.variables):
                variable.assign(state[f"{name}.{i}"])


def forward(model: Any, x: Any, seed: Any) -> Any:
    """Return probabilities (n,), dropout seeded by step and rank instead of by a hidden state."""
    import tensorflow as tf

    for number, layer in enumerate(model.layers):
        if hasattr(layer, "rate"):
            if layer.rate:
                kept = tf.random.stateless_uniform(tf.shape(x), seed + number) >= layer.rate
                x = tf.where(kept, x / (1.0 - layer.rate), 0.0)
        else:
            x = layer(x)
    return tf.reshape(x, [-1])
