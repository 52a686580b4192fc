"""Training the head: epochs, early stopping and checkpoints, whatever makes the epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mammotrain.checkpoint import Checkpoints, History, Progressed
from mammotrain.head import Part, build_head, measure
from mammotrain.loop import Arrays, HeadOptions, Trainer


class Epochs(Protocol):
    """Makes epochs: yields the values of model and optimizer after each, by their numbers."""

    def __call__(self, trainer: Trainer, first: int) -> Iterator[tuple[int, Arrays]]:
        """Begin with epoch `first`, counted from 0, at the values that `trainer` has."""


def local_epochs(options: HeadOptions) -> Epochs:
    """Return epochs made in this process."""

    def run(trainer: Trainer, first: int) -> Iterator[tuple[int, Arrays]]:
        for number in range(first, options.epochs):
            trainer.epoch(number)
            yield number, trainer.state()

    return run


def train_head(
    train: Part,
    validation: Part | None,
    options: HeadOptions,
    on_epoch: Callable[[int, dict[str, float]], None],
    *,
    epochs: Epochs | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[Any, History, int]:
    """Train the head with Adam on the class-weighted binary cross-entropy.

    With `patience`, training stops after that many epochs without a better validation AUC, and the
    head of the best epoch is returned; else that of the last.

    Args:
        train: features (n, dimension) and labels (n,).
        validation: the same, or None.
        options: everything else, the seed included.
        on_epoch: called with the epoch (from 1) and its numbers, those of an earlier run too.
        epochs: how epochs are made; in this process by default.
        checkpoints: where to go on, and what to replace after each epoch.

    Returns:
        The head; loss, accuracy and AUC after each epoch; the epoch that the head is of.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(options.seed)
    tf.config.experimental.enable_op_determinism()
    model = build_head(train[0], options)
    trainer = Trainer(model, train, options)
    done = (checkpoints.load() if checkpoints else None) or Progressed()
    if done.state:
        trainer.load(done.state)
        for epoch in range(done.epochs):
            on_epoch(epoch + 1, {name: values[epoch] for name, values in done.history.items()})
    if not done.enough(options.epochs, options.patience):
        for number, state in (epochs or local_epochs(options))(trainer, done.epochs):
            trainer.load(state)
            numbers = measure(model, train, validation)
            done.note(state, numbers, options.patience)
            if checkpoints:
                checkpoints.save(done)
            on_epoch(number + 1, numbers)
            if done.enough(options.epochs, options.patience):
                break
    if done.best:
        trainer.load(done.best)
    return model, done.history, done.best_epoch or done.epochs
