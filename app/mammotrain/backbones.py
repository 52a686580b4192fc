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
class LastBlock:
    """The last block that a pooling looks at: what fine-tuning trains.

    Attributes:
        boundary: layer whose output goes into it.
        end: its last layer.
        length: of the boundary's output, flattened.
        frozen: how many of the features come from blocks before it; they stand first.
    """

    boundary: str
    end: str
    length: int
    frozen: int


@dataclass(frozen=True)
class Backbone:
    """A network of `keras.applications` without its top.

    Attributes:
        module: module of `keras.applications` that has `preprocess_input`.
        builder: function of `keras.applications`.
        size: side of its input in pixels.
        dimensions: length of the feature vector for each pooling it offers, the default first.
            `avg` is the average of the last activation map; `blocks` the averages and maxima of
            the layers in `blocks`; `texture` the logarithms of those of `texture`; `averages` the
            logarithms of the averages alone.
        last: for each pooling that can be fine-tuned.
    """

    module: str
    builder: str
    dimensions: dict[str, int]
    size: int = 224
    options: dict[str, Any] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    texture: tuple[str, ...] = ()
    last: dict[str, LastBlock] = field(default_factory=dict)


# Keras' names: the weights stay float32, the arithmetic is done in the other type.
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}

# In place of a pooling: the activations that go into its last block, flattened.
BOUNDARY = "before-"

_VGG_LAST = {
    "averages": LastBlock("block3_pool", "block4_pool", 28 * 28 * 256, 256),
    "texture": LastBlock("block3_pool", "block4_pool", 28 * 28 * 256, 512),
    "avg": LastBlock("block4_pool", "block5_pool", 14 * 14 * 512, 0),
    "blocks": LastBlock("block4_pool", "block5_pool", 14 * 14 * 512, 1536),
}

BACKBONES: dict[str, Backbone] = {
    "vgg16": Backbone(
        "vgg16",
        "VGG16",
        {"averages": 768, "texture": 1536, "avg": 512, "blocks": 2560},
        blocks=("block3_pool", "block4_pool", "block5_pool"),
        texture=("block3_pool", "block4_pool"),
        last=_VGG_LAST,
    ),
    "vgg19": Backbone(
        "vgg19",
        "VGG19",
        {"averages": 768, "texture": 1536, "avg": 512, "blocks": 2560},
        blocks=("block3_pool", "block4_pool", "block5_pool"),
        texture=("block3_pool", "block4_pool"),
        last=_VGG_LAST,
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
    """Return the length of a feature vector, or of the activations that BOUNDARY asks for."""
    if pooling.startswith(BOUNDARY):
        return find(name).last[pooling.removeprefix(BOUNDARY)].length
    return find(name).dimensions[pooling]


def default_pooling(name: str) -> str:
    """Return the pooling that is used where none is asked for."""
    return next(iter(find(name).dimensions))


def build_extractor(
    name: str, pooling: str, weights: Path | None, seed: int, precision: str = "float32"
) -> Any:
    """Build the model from pixels to features, preprocessing included.

    Args:
        name: key of BACKBONES.
        pooling: key of the backbone's `dimensions`.
        weights: file of weights, or None for a random network: the same one for the same seed
            on every machine.
        seed: for the random network.
        precision: one of PRECISIONS: of the network's arithmetic; weights and features are float32.

    Returns:
        A Keras model: RGB float32 (n, size, size, 3), 0 to 255, to float32 (n, dimension).

    Raises:
        TrainError: the weights do not belong to this network.
    """
    import keras

    spec = find(name)
    base = _base(spec, weights, seed, precision)
    module = importlib.import_module(f"keras.applications.{spec.module}")
    pixels = keras.Input((spec.size, spec.size, 3), dtype="float32", name="rgb")
    prepared = module.preprocess_input(pixels)
    if pooling.startswith(BOUNDARY):
        end = base.get_layer(spec.last[pooling.removeprefix(BOUNDARY)].boundary).output
        features = keras.layers.Flatten()(keras.Model(base.input, end)(prepared))
    elif pooling == "avg":
        features = keras.layers.GlobalAveragePooling2D(name="features")(base(prepared))
    else:
        chosen = spec.blocks if pooling == "blocks" else spec.texture
        stages = [base.get_layer(layer).output for layer in chosen]
        maps = keras.Model(base.input, stages, name=base.name)(prepared)
        features = _pooled(maps, pooling)
    return keras.Model(pixels, features, name=f"{name}_{pooling}")


def build_tail(name: str, pooling: str, weights: Path | None, seed: int) -> Any:
    """Build the last block, trainable, with the pooling behind it.

    Args:
        name: key of BACKBONES.
        pooling: key of its `last`.
        weights: as in `build_extractor`.
        seed: as in `build_extractor`.

    Returns:
        A Keras model: activations at the boundary, float32 (n, rows, columns, channels), to
        the features of this block, float32 (n, dimension - frozen).
    """
    import keras

    spec = find(name)
    last = spec.last[pooling]
    base = _base(spec, weights, seed, "float32")
    base.trainable = True
    start, end = base.get_layer(last.boundary).output, base.get_layer(last.end).output
    activations = keras.Input(start.shape[1:], name="activations")
    maps = keras.Model(start, end)(activations)
    if pooling == "avg":
        return keras.Model(activations, keras.layers.GlobalAveragePooling2D()(maps))
    return keras.Model(activations, _pooled([maps], pooling))


def put_block(extractor: Any, tail: Any) -> None:
    """Give a model of `build_extractor` the weights of a trained last block, by layer."""
    layers = {layer.name: layer for layer in _flat(extractor)}
    for layer in _flat(tail):
        if layer.weights:
            layers[layer.name].set_weights(layer.get_weights())


def _flat(model: Any) -> list[Any]:
    """Return the layers of a model and of the models in it."""
    return [
        inner
        for layer in model.layers
        for inner in (_flat(layer) if hasattr(layer, "layers") else [layer])
    ]


def _base(spec: Backbone, weights: Path | None, seed: int, precision: str) -> Any:
    """Return the frozen network without its top."""
    import keras

    keras.utils.set_random_seed(seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[precision])
    try:
        base = getattr(keras.applications, spec.builder)(
            weights=None,
            include_top=False,
            input_shape=(spec.size, spec.size, 3),
            **spec.options,
        )
    finally:
        keras.config.set_dtype_policy(policy)
    if weights is not None:
        load_weights(base, weights)
    base.trainable = False
    return base


def _pooled(maps: Any, pooling: str) -> Any:
    """Return averages of each map, and maxima with `texture` and `blocks`; see `Backbone`."""
    import keras

    pools = [keras.layers.GlobalAveragePooling2D]
    if pooling != "averages":
        pools.append(keras.layers.GlobalMaxPooling2D)
    joined = keras.layers.Concatenate()([pool()(each) for each in maps for pool in pools])
    # activations after ReLU: none is negative
    return joined if pooling == "blocks" else keras.ops.log1p(joined)


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
