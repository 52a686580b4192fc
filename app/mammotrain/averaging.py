"""The dissertation's way: each partition trains alone, then the weights are averaged.

Kept to compare with. It differs from Elephas' synchronous mode, which the dissertation used, in
that weights are averaged after every epoch instead of once, by the number of rows instead of
evenly, and that a partition that is too small to train does not count. Adam's moments are averaged
as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mammotrain.head import Part, build_head
from mammotrain.loop import Arrays, HeadOptions, Trainer
from mammotrain.train import Epochs


def partition_rows(rows: int, partitions: int, seed: int) -> list[Any]:
    """Return which rows each partition trains on, at random and of about equal number."""
    order = np.random.default_rng((seed, partitions)).permutation(rows)
    return [np.sort(order[number::partitions]) for number in range(partitions)]


def usable(labels: Any, rows: Any, batch: int) -> bool:
    """Tell whether a partition can train: more rows than a batch, and both classes."""
    return len(rows) > batch and len(np.unique(labels[rows])) == 2


def averaged(results: list[tuple[int, Arrays]]) -> Arrays:
    """Return the average of the values of several trainings, weighted by their rows."""
    total = sum(rows for rows, _ in results)
    average: Arrays = {}
    for name, value in results[0][1].items():
        parts = [values[name].astype(np.float64) * (rows / total) for rows, values in results]
        average[name] = np.sum(parts, axis=0).astype(value.dtype)
    return average


def averaging_epochs(
    spark: Any,
    train: Part,
    options: HeadOptions,
    partitions: int,
    skipped: Callable[[int], None],
) -> Epochs:
    """Return epochs made by `partitions` tasks of a Spark session.

    Args:
        spark: the session.
        train: features and labels; sent to the executors once.
        options: of the training.
        partitions: how many.
        skipped: told, once, how many partitions are too small to train.
    """
    rows = partition_rows(len(train[1]), partitions, options.seed)
    good = [part for part in rows if usable(train[1], part, options.batch)]
    left_out = len(rows) - len(good)
    if not good:  # one process has to do it all
        good = [np.arange(len(train[1]))]
    data = spark.sparkContext.broadcast(train)

    def run(trainer: Trainer, first: int) -> Iterator[tuple[int, Arrays]]:
        skipped(left_out)
        state = trainer.state()
        for number in range(first, options.epochs):
            values = spark.sparkContext.broadcast(state)
            results = (
                spark.sparkContext.parallelize(list(enumerate(good)), len(good))
                .map(partial(_train, data, values, options, number))
                .collect()
            )
            values.destroy()
            state = averaged(results)
            yield number, state

    return run


def _train(
    data: Any, state: Any, options: HeadOptions, epoch: int, partition: tuple[int, Any]
) -> tuple[int, Arrays]:
    """Train one epoch on the rows of a partition, in a Python worker of an executor."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    number, rows = partition
    train: Part = data.value
    part = (train[0][rows], train[1][rows])
    alone = replace(options, seed=options.seed * 1009 + number)
    trainer = Trainer(build_head(train[0], options), part, alone)
    trainer.load(state.value)
    trainer.epoch(epoch)
    return len(rows), trainer.state()
