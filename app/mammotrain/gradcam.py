"""Where a model looks: Grad-CAM (Selvaraju et al., 2017, ICCV) over the maps that are pooled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def map_tensors(model: Any) -> list[Any]:
    """Return the activation maps of a functional model from which its answer is pooled.

    They are the outputs of the network inside the model; without one, that of its last layer that
    makes maps. Empty where no layer does.
    """
    import keras

    maps: list[Any] = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        try:
            outputs = layer.output
        except (AttributeError, ValueError):
            continue  # not part of the graph from pixels to answer
        listed = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        found = [one for one in listed if len(one.shape) == 4 and one.shape[-1] != 3]
        if found and isinstance(layer, keras.Model):
            return _calls(model, layer)
        maps = found or maps
    return maps


def _calls(model: Any, inner: Any) -> list[Any]:
    """Return what an inner network puts out inside a model, rather than on its own."""
    for node in inner._inbound_nodes:
        outputs = list(node.output_tensors)
        inside = {id(one) for layer in model.layers for one in _inputs(layer)}
        if any(id(one) in inside for one in outputs):
            return outputs
    return []


def _inputs(layer: Any) -> list[Any]:
    return [one for node in layer._inbound_nodes for one in node.input_tensors]


@contextmanager
def _log_odds(model: Any) -> Iterator[None]:
    """Let a model put out log odds: the gradient of a probability near 0 or 1 is nothing."""
    import keras

    last = model
    while isinstance(last, keras.Model):
        last = last.layers[-1]
    activation = getattr(last, "activation", None)
    if activation is not keras.activations.sigmoid:
        raise ValueError("the model does not end in a sigmoid")
    last.activation = keras.activations.linear
    try:
        yield
    finally:
        last.activation = activation


def heat_maps(model: Any, pixels: npt.NDArray[np.uint8]) -> Floats:
    """Return for each picture where the evidence for malignant lies.

    Each map's channels are weighted with the mean gradient of the log odds; what speaks for
    malignant is kept, brought to the size of the picture, and added up over the maps.

    Args:
        model: from RGB float32 (n, size, size, 3), 0 to 255, to the probability (n, 1).
        pixels: uint8 (n, size, size, 3).

    Returns:
        float32 (n, size, size), 0 to 1 in each picture; zeros where nothing speaks for malignant.

    Raises:
        ValueError: the model has no maps, or does not end in a sigmoid.
    """
    import keras
    import tensorflow as tf

    tensors = map_tensors(model)
    if not tensors:
        raise ValueError("the model has no activation maps")
    watched = keras.Model(model.inputs, [*tensors, model.outputs[0]])
    size = pixels.shape[1]
    results = []
    for picture in pixels:  # one at a time: the driver has little memory
        batch = tf.constant(picture[np.newaxis], tf.float32)
        with _log_odds(model), tf.GradientTape() as tape:
            *maps, odds = watched(batch, training=False)
        heat = tf.zeros((size, size))
        for activation, gradient in zip(maps, tape.gradient(odds, maps), strict=True):
            if gradient is None:
                continue
            weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
            cam = tf.nn.relu(tf.reduce_sum(weights * activation, axis=-1, keepdims=True))
            # the share of a position, so that maps of all sizes count alike
            cam = cam * tf.cast(tf.size(cam), tf.float32)
            heat += tf.image.resize(cam, (size, size))[0, :, :, 0]
        values = heat.numpy().astype(np.float32)
        top = float(values.max())
        results.append(values / top if top > 0.0 else values)
    return np.array(results, np.float32)


def overlay(picture: npt.NDArray[np.uint8], heat: Floats) -> npt.NDArray[np.uint8]:
    """Lay a heat map over a picture: uint8 (size, size, 3); what is cold stays grey."""
    from matplotlib import colormaps

    colours = np.asarray(colormaps["inferno"](heat))[:, :, :3] * 255.0
    share = 0.6 * heat[:, :, np.newaxis]
    shown: npt.NDArray[np.uint8] = np.rint(picture * (1.0 - share) + colours * share).astype(
        np.uint8
    )
    return shown
