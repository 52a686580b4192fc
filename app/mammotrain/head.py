"""The part that is trained: a small dense network on the cached features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.backbones import build_extractor, find, put_block
from mammotrain.errors import TrainError
from mammotrain.loop import Floats, HeadOptions, Labels
from mammotrain.metrics import accuracy, auc, cross_entropy

Part = tuple[Floats, Labels]

# Between the executors' probabilities and the saved model's: the coarser types have 8 and 11 bits.
TOLERANCES = {"float32": 1e-4, "bfloat16": 2e-2, "float16": 5e-3}


def build_head(features: Floats, options: HeadOptions) -> Any:
    """Build the head: standardise, dense (where there are units), dropout, one sigmoid.

    Args:
        features: training features (n, dimension); their mean and variance are stored in it.
        options: size and dropout.

    Returns:
        A Keras model: (n, dimension) to (n, 1), the probability of malignant. The same weights for
        the same `keras.utils.set_random_seed`.
    """
    import keras

    spread = features.var(axis=0, dtype=np.float64)
    layers = keras.layers
    # A feature that never changes in training says nothing: it must not explode elsewhere.
    spread[spread < 1e-6] = 1e6
    hidden = [layers.Dense(options.units, activation="relu")] if options.units else []
    # Nothing learnt yet means an even chance: a random start would take many epochs to fade.
    start = "glorot_uniform" if options.units else "zeros"
    return keras.Sequential(
        [
            keras.Input((features.shape[1],), name="features"),
            layers.Normalization(mean=features.mean(axis=0, dtype=np.float64), variance=spread),
            *hidden,
            layers.Dropout(options.dropout),
            layers.Dense(1, activation="sigmoid", name="malignant", kernel_initializer=start),
        ],
        name="head",
    )


def predict(model: Any, features: npt.NDArray[Any], batch: int = 1024) -> Floats:
    """Return the probability of malignant for each row, shape (n,), dropout off."""
    parts = [
        np.asarray(model(features[i : i + batch], training=False), dtype=np.float32).reshape(-1)
        for i in range(0, len(features), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def measure(model: Any, train: Part, validation: Part | None) -> dict[str, float]:
    """Return loss, accuracy and AUC of both parts, unweighted and with dropout off."""
    numbers: dict[str, float] = {}
    for prefix, part in (("", train), ("val_", validation)):
        if part is None:
            continue
        scores = predict(model, part[0])
        numbers[f"{prefix}loss"] = cross_entropy(part[1], scores)
        numbers[f"{prefix}accuracy"] = accuracy(part[1], scores)
        numbers[f"{prefix}auc"] = auc(part[1], scores)
    return numbers


def save_model(
    path: Path,
    head: Any,
    *,
    backbone: str,
    pooling: str,
    weights: Path | None,
    seed: int,
    precision: str,
    tail: Any = None,
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
        precision: of the network's arithmetic, one of `backbones.PRECISIONS`.
        tail: of `backbones.build_tail`, trained; None where the backbone is as it came.
        samples: images, uint8 (n, size, size, 3); may be none.
        sample_features: their features (n, dimension).

    Returns:
        The largest difference of the samples' probabilities, or None without samples.

    Raises:
        TrainError: they differ by more than TOLERANCES allow.
    """
    import keras

    extractor = build_extractor(backbone, pooling, weights, seed, precision)
    if tail is not None:
        put_block(extractor, tail)
    model = keras.Model(extractor.input, head(extractor.output), name="mammotrain")
    model.save(path)
    del extractor, model
    keras.backend.clear_session()
    if len(samples) == 0:
        return None
    size = find(backbone).size
    loaded = keras.models.load_model(path)
    pixels = samples.reshape(-1, size, size, 3).astype(np.float32)
    whole = predict(loaded, pixels, batch=4)
    difference = float(np.abs(whole - predict(head, sample_features)).max())
    if not difference <= TOLERANCES[precision]:
        raise TrainError(
            f"the saved model disagrees with the features it was trained on by {difference:.2g}: "
            "the nodes differ in TensorFlow or in their weights"
        )
    return difference
