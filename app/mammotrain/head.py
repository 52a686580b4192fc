"""The part that is trained: a small dense network on the cached features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.backbones import BACKBONES, build_extractor
from mammotrain.errors import TrainError
from mammotrain.metrics import accuracy, auc, cross_entropy

Floats = npt.NDArray[np.float32]
History = dict[str, list[float]]


@dataclass(frozen=True)
class HeadOptions:
    """How the head is made and trained."""

    units: int = 256
    dropout: float = 0.5
    learning_rate: float = 1e-3
    epochs: int = 10
    batch: int = 32
    seed: int = 0


def class_weights(labels: npt.NDArray[np.int64]) -> dict[int, float]:
    """Return weights that give both classes the same total, 1 on average over the images."""
    counts = np.bincount(labels, minlength=2)
    return {i: float(len(labels) / (2.0 * counts[i])) for i in (0, 1)}


def build_head(features: Floats, options: HeadOptions) -> Any:
    """Build the head: standardise, dropout, dense, dropout, one sigmoid.

    Args:
        features: training features (n, dimension); their mean and variance are stored in it.
        options: size and dropout.

    Returns:
        A compiled Keras model: (n, dimension) to (n, 1), the probability of malignant.
    """
    import keras

    spread = features.var(axis=0, dtype=np.float64)
    layers = keras.layers
    # A feature that never changes in training says nothing: it must not explode elsewhere.
    spread[spread < 1e-6] = 1e6
    model = keras.Sequential(
        [
            keras.Input((features.shape[1],), name="features"),
            layers.Normalization(mean=features.mean(axis=0, dtype=np.float64), variance=spread),
            layers.Dense(options.units, activation="relu"),
            layers.Dropout(options.dropout),
            layers.Dense(1, activation="sigmoid", name="malignant"),
        ],
        name="head",
    )
    model.compile(
        optimizer=keras.optimizers.Adam(options.learning_rate), loss="binary_crossentropy"
    )
    return model


def predict(model: Any, features: npt.NDArray[Any], batch: int = 1024) -> Floats:
    """Return the probability of malignant for each row, shape (n,), dropout off."""
    parts = [
        np.asarray(model(features[i : i + batch], training=False), dtype=np.float32).reshape(-1)
        for i in range(0, len(features), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def train_head(
    train: tuple[Floats, npt.NDArray[np.int64]],
    validation: tuple[Floats, npt.NDArray[np.int64]] | None,
    options: HeadOptions,
    on_epoch: Callable[[int, dict[str, float]], None],
) -> tuple[Any, History]:
    """Train the head with Adam on the class-weighted binary cross-entropy.

    The history holds, for both parts alike, the unweighted loss, the accuracy and the AUC at the
    end of each epoch with dropout off, so that the two curves can be compared.

    Args:
        train: features (n, dimension) and labels (n,).
        validation: the same, or None.
        options: everything else, the seed included.
        on_epoch: called with the epoch (from 1) and its numbers.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(options.seed)
    tf.config.experimental.enable_op_determinism()
    model = build_head(train[0], options)
    history: History = {}

    def measure(epoch: int, _logs: Any = None) -> None:
        numbers: dict[str, float] = {}
        for prefix, part in (("", train), ("val_", validation)):
            if part is None:
                continue
            scores = predict(model, part[0])
            numbers[f"{prefix}loss"] = cross_entropy(part[1], scores)
            numbers[f"{prefix}accuracy"] = accuracy(part[1], scores)
            numbers[f"{prefix}auc"] = auc(part[1], scores)
        for name, value in numbers.items():
            history.setdefault(name, []).append(value)
        on_epoch(epoch + 1, numbers)

    model.fit(
        train[0],
        train[1].astype(np.float32),
        batch_size=options.batch,
        epochs=options.epochs,
        class_weight=class_weights(train[1]),
        shuffle=True,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=measure)],
    )
    return model, history


def save_model(
    path: Path,
    head: Any,
    *,
    backbone: str,
    pooling: str,
    weights: Path | None,
    seed: int,
    samples: npt.NDArray[np.uint8],
    sample_features: Floats,
) -> float | None:
    """Save network and head as one model from RGB pixels (0 to 255) to a probability.

    The file is loaded again and must give, for the sample images, what the head gives for their
    features as the executors computed them.

    Args:
        path: the `.keras` file.
        head: the trained head.
        backbone: key of BACKBONES.
        pooling: which features.
        weights: file of the backbone's weights, or None for a random one.
        seed: for the random one.
        samples: images, uint8 (n, size, size, 3); may be none.
        sample_features: their features (n, dimension).

    Returns:
        The largest difference of the samples' probabilities, or None without samples.

    Raises:
        TrainError: they differ by more than 1e-4.
    """
    import keras

    extractor = build_extractor(backbone, pooling, weights, seed)
    model = keras.Model(extractor.input, head(extractor.output), name="mammotrain")
    model.save(path)
    del extractor, model
    keras.backend.clear_session()
    if len(samples) == 0:
        return None
    size = BACKBONES[backbone].size
    loaded = keras.models.load_model(path)
    pixels = samples.reshape(-1, size, size, 3).astype(np.float32)
    whole = predict(loaded, pixels, batch=4)
    difference = float(np.abs(whole - predict(head, sample_features)).max())
    if not difference <= 1e-4:
        raise TrainError(
            f"the saved model disagrees with the features it was trained on by {difference:.2g}: "
            "the nodes differ in TensorFlow or in their weights"
        )
    return difference
