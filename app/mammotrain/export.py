"""A saved model in TensorFlow's own format, for servers that know no Keras."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.description import NAME
from mammotrain.errors import TrainError

SAVED_MODEL = "saved_model.zip"
TOLERANCE = 1e-5


def export_saved_model(source: Path, target: Path, samples: npt.NDArray[Any]) -> float | None:
    """Write a `.keras` file as a SavedModel, one zip archive with the model's description.

    Its signature `serve` takes RGB float32 (n, size, size, 3), 0 to 255. What was written is read
    again and must judge the samples as the source does.

    Args:
        source: a model of this application.
        target: the archive.
        samples: images, uint8 (n, size, size, 3); may be none.

    Returns:
        The largest difference of a probability, or None without samples.

    Raises:
        TrainError: they differ by more than 1e-5.
    """
    import keras
    import tensorflow as tf

    model = keras.models.load_model(source, compile=False)
    with tempfile.TemporaryDirectory(prefix="mammotrain-") as scratch:
        folder = Path(scratch) / "saved_model"
        model.export(str(folder), format="tf_saved_model", verbose=False)
        difference = None
        if len(samples):
            served = tf.saved_model.load(str(folder))
            pixels = samples.astype(np.float32)
            ours = np.concatenate([model(one[np.newaxis], training=False) for one in pixels])
            theirs = np.concatenate([served.serve(one[np.newaxis]) for one in pixels])
            difference = float(np.abs(ours - theirs).max())
            if not difference <= TOLERANCE:
                raise TrainError(f"the SavedModel disagrees with the model by {difference:.2g}")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(scratch).as_posix())
            with zipfile.ZipFile(source) as keras_file:
                archive.writestr(f"saved_model/{NAME}", keras_file.read(NAME))
    return difference
