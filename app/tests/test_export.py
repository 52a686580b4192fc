"""A model in TensorFlow's own format."""

import zipfile

import numpy as np
import pytest


@pytest.mark.spark
def test_a_saved_model_judges_as_the_model_does(judge, tmp_path):
    import tensorflow as tf
    from mammotrain.export import export_saved_model

    pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    target = tmp_path / "saved_model.zip"
    assert export_saved_model(judge / "model.keras", target, pictures) <= 1e-5
    with zipfile.ZipFile(target) as archive:
        archive.extractall(tmp_path)
    assert (tmp_path / "saved_model" / "mammotrain.json").is_file()
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    black = np.zeros((1, 224, 224, 3), np.float32)
    # the model of these tests: a sigmoid of 0.06 times the mean grey value, less 5
    assert float(loaded.serve(black)[0, 0]) == pytest.approx(1 / (1 + np.exp(5)), rel=1e-4)
    assert float(loaded.serve(black + 100)[0, 0]) == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-4)
    assert export_saved_model(judge / "model.keras", target, pictures[:0]) is None
