"""What several of the tests judge with."""

import os
import sys

import numpy as np
import pytest
from packing import pack, rows


@pytest.fixture(scope="session")
def local_spark():
    """Make Spark run here, on two cores, with this Python."""
    pytest.importorskip("pyspark")
    os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[2] pyspark-shell"
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"


@pytest.fixture(scope="session")
def judge(local_spark, tmp_path_factory):
    """Return a folder with a data set (data) and a model that judges by grey value."""
    pytest.importorskip("tensorflow")
    import keras
    from mammotrain.decode import PREPROCESSING_VERSION
    from mammotrain.description import Description, write_description

    folder = tmp_path_factory.mktemp("judge")
    pack(folder / "data", rows())
    pixels = keras.Input((224, 224, 3), name="rgb")
    grey = keras.layers.GlobalAveragePooling2D()(pixels)
    dense = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(pixels, dense(grey))
    dense.set_weights([np.full((3, 1), 0.02), np.array([-5.0])])
    model.save(folder / "model.keras")
    about = Description(
        224, "crop", PREPROCESSING_VERSION, 0.4, 2.0, 0.1, "validation", False, "none", "avg", {}
    )
    write_description(folder / "model.keras", about)
    return folder
