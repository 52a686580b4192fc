"""The frozen networks: which there are, how they are built, and their weights."""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mammotrain.errors import TrainError, UnusableInput


@dataclass(frozen=True)
class Backbone:
    """A network of `keras.applications` without its top.

    Attributes:
        module: module of `keras.applications` that has `preprocess_input`.
        builder: function of `keras.applications`.
        size: side of its input in pixels.
        dimensions: length of the feature vector for each pooling it offers, the default first.
            `avg` is the average of the last activation map; `blocks` the averages and maxima of
            the layers in `blocks`; `texture` the logarithms of those of `texture`.
    """

    module: str
    builder: str
    dimensions: dict[str, int]
    size: int = 224
    options: dict[str, Any] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    texture: tuple[str, ...] = ()


BACKBONES: dict[str, Backbone] = {
    "vgg16": Backbone(
        "vgg16",
        "VGG16",
        {"texture": 1536, "avg": 512, "blocks": 2560},
        blocks=("block3_pool", "block4_pool", "block5_pool"),
        texture=("block3_pool", "block4_pool"),
    ),
    "vgg19": Backbone(
        "vgg19",
        "VGG19",
        {"texture": 1536, "avg": 512, "blocks": 2560},
        blocks=("block3_pool", "block4_pool", "block5_pool"),
        texture=("block3_pool", "block4_pool"),
    ),
    "resnet50": Backbone("resnet50", "ResNet50", {"avg": 2048}),
    "densenet121": Backbone("densenet", "DenseNet121", {"avg": 1024}),
    "efficientnet_b0": Backbone("efficientnet", "EfficientNetB0", {"avg": 1280}),
    "mobilenet_v2": Backbone("mobilenet_v2", "MobileNetV2", {"avg": 1280}),
    "mobilenet_v2_035": Backbone(
        "mobilenet_v2", "MobileNetV2", {"avg": 1280}, options={"alpha": 0.35}
    ),
}


def find(name: str) -> Backbone:
    """Return a backbone: one of BACKBONES, or any network of `keras.applications` by its name.

    Case and underscores do not count: `efficientnet_b3` is EfficientNetB3.

    Raises:
        UnusableInput: there is none of this name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    return _of_keras(name)


@functools.cache
def _of_keras(name: str) -> Backbone:
    import keras

    wanted = name.replace("_", "").lower()
    builders = {entry.lower(): entry for entry in dir(keras.applications) if entry[0].isupper()}
    if wanted not in builders:
        near = difflib.get_close_matches(wanted, [*builders, *BACKBONES], n=1)
        hint = f": did you mean {builders.get(near[0], near[0])}?" if near else ""
        raise UnusableInput(f"keras.applications has no network {name!r}{hint}")
    builder = builders[wanted]
    module = next(
        entry
        for entry in sorted(dir(keras.applications))
        if hasattr(getattr(keras.applications, entry), "preprocess_input")
        and hasattr(getattr(keras.applications, entry), builder)
    )
    shape = (224, 224, 3)
    try:
        base = getattr(keras.applications, builder)(
            weights=None, include_top=False, input_shape=shape
        )
    except ValueError as error:
        raise UnusableInput(f"{builder} cannot be used with images of 224 pixels") from error
    return Backbone(module, builder, {"avg": int(base.output.shape[-1])})


def dimension(name: str, pooling: str) -> int:
    """Return the length of a feature vector."""
    return find(name).dimensions[pooling]


def default_pooling(name: str) -> str:
    """Return the pooling that is used where none is asked for."""
    return next(iter(find(name).dimensions))


def build_extractor(name: str, pooling: str, weights: Path | None, seed: int) -> Any:
    """Build the model from pixels to features, preprocessing included.

    Args:
        name: key of BACKBONES.
        pooling: key of the backbone's `dimensions`.
        weights: file of weights, or None for a random network: the same one for the same seed
            on every machine.
        seed: for the random network.

    Returns:
        A Keras model: RGB float32 (n, size, size, 3), 0 to 255, to float32 (n, dimension).

    Raises:
        TrainError: the weights do not belong to this network.
    """
    import keras

    spec = find(name)
    keras.utils.set_random_seed(seed)
    module = importlib.import_module(f"keras.applications.{spec.module}")
    shape = (spec.size, spec.size, 3)
    base = getattr(keras.applications, spec.builder)(
        weights=None, include_top=False, input_shape=shape, **spec.options
    )
    if weights is not None:
        load_weights(base, weights)
    base.trainable = False
    pixels = keras.Input(shape, dtype="float32", name="rgb")
    prepared = module.preprocess_input(pixels)
    if pooling == "avg":
        features = keras.layers.GlobalAveragePooling2D(name="features")(base(prepared))
    else:
        chosen = spec.blocks if pooling == "blocks" else spec.texture
        stages = [base.get_layer(layer).output for layer in chosen]
        maps = keras.Model(base.input, stages, name=base.name)(prepared)
        pools = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
        features = keras.layers.Concatenate()([p()(m) for m in maps for p in pools])
        if pooling == "texture":  # activations after ReLU: none is negative
            features = keras.ops.log1p(features)
    return keras.Model(pixels, features, name=f"{name}_{pooling}")


def is_legacy_format(path: Path) -> bool:
    """Tell whether a file of weights has the HDF5 format from before Keras 3.

    Raises:
        TrainError: not HDF5 at all, or cut off.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "layer_names" in file.attrs or "model_weights" in file
    except OSError as error:
        raise TrainError("the weights file is not HDF5 (.weights.h5 or .h5)") from error


def load_weights(model: Any, path: Path) -> None:
    """Load weights in Keras 3's format or the older HDF5 format, whatever the file is called.

    Raises:
        TrainError: not a weights file, or one of another network.
    """
    legacy = is_legacy_format(path)
    # Keras decides by the name alone.
    with tempfile.TemporaryDirectory(prefix="mammotrain-") as folder:
        link = Path(folder) / ("weights.h5" if legacy else "model.weights.h5")
        link.symlink_to(path.resolve())
        try:
            model.load_weights(str(link))
        except (ValueError, KeyError) as error:
            raise TrainError(
                f"the weights do not fit {model.name} without its top: "
                "give the weights that belong to --backbone"
            ) from error


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
