"""The frozen network in a Python worker: built once in a process, called with full batches."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammotrain import tensorflow_environment
from mammotrain.backbones import build_extractor, dimension, file_sha256
from mammotrain.cache import FeatureKey
from mammotrain.errors import TrainError


@dataclass(frozen=True)
class ExtractSettings:
    """What a task needs to know.

    Attributes:
        weights: the name that SparkFiles knows, or None.
        whole: it is a whole model, and its score the only feature.
    """

    key: FeatureKey
    weights: str | None
    seed: int
    batch: int
    whole: bool = False

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return 1 if self.whole else dimension(self.key.backbone, self.key.pooling)


# One network per Python worker process, kept between the tasks that the process runs.
_networks: dict[ExtractSettings, Any] = {}


def network(settings: ExtractSettings, threads: int) -> Any:
    """Return the compiled network: uint8 (batch, size, size, 3) to float32 (batch, dimension).

    Args:
        settings: which network, and the size of its batches.
        threads: cores that it may use.

    Raises:
        TrainError: the weights on this node are not those that were sent.
    """
    if settings in _networks:
        return _networks[settings]
    tensorflow_environment.prepare()
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # a worker that had another network before
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)
    path = None
    if settings.weights is not None:
        from pyspark import SparkFiles

        path = Path(SparkFiles.get(settings.weights))
        if file_sha256(path) != settings.key.weights:
            raise TrainError("the weights that reached this node are not those that were sent")
    if settings.whole:
        import keras

        model = keras.models.load_model(path, compile=False)
    else:
        key = settings.key
        model = build_extractor(key.backbone, key.pooling, path, settings.seed, key.precision)
    _networks.clear()
    _networks[settings] = compiled(model, settings.key.size, settings.batch)
    return _networks[settings]


def compiled(model: Any, size: int, batch: int) -> Any:
    """Return a model as a function from uint8 (batch, size, size, 3) to float32 (batch, n).

    It has been called once: the first call is many times slower than the others.
    """
    import tensorflow as tf

    shape = (batch, size, size, 3)
    function = tf.function(
        lambda pixels: model(tf.cast(pixels, tf.float32), training=False),
        input_signature=[tf.TensorSpec(shape, tf.uint8)],
        autograph=False,
    )
    function(tf.zeros(shape, tf.uint8))
    return function
