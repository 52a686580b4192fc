"""Where a model looks, and which cases the report shows."""

import numpy as np
import pytest
from mammotrain.cases import candidates, choose
from mammotrain.dataset import Image
from mammotrain.gradcam import overlay


def images(labels):
    return [Image(f"i{n:03}", f"p{n}", label, f"s{n}") for n, label in enumerate(labels)]


def test_the_most_decided_cases_of_each_kind():
    scores = np.array([0.9, 0.6, 0.1, 0.4, 0.8, 0.55, 0.05, 0.45], np.float32)
    found = choose(images([1, 1, 1, 1, 0, 0, 0, 0]), scores, 0.5, 1)
    assert [(kind, image.image_id) for kind, image, _ in found] == [
        ("malignant, called so", "i000"),
        ("malignant, missed", "i002"),
        ("benign, called malignant", "i004"),
        ("benign, called so", "i006"),
    ]
    assert len(choose(images([1, 1, 1, 1, 0, 0, 0, 0]), scores, 0.5, 9)) == 8
    assert choose(images([1]), np.array([0.5]), 0.5, 2)[0][0] == "malignant, called so"


def test_candidates_do_not_depend_on_order():
    many = images([0] * 300)
    found = candidates(many, 1)
    assert len(found) == 256
    assert candidates(many[::-1], 1) == found
    assert candidates(many, 2) != found


def test_cold_places_stay_as_they_are():
    picture = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[2, 3] = 1.0
    shown = overlay(picture, heat)
    assert (shown[0, 0] == 100).all()
    assert (shown[2, 3] != 100).any()


@pytest.fixture(scope="module")
def keras():
    pytest.importorskip("tensorflow")
    import keras

    return keras


@pytest.mark.spark
@pytest.mark.parametrize("nested", [True, False])
def test_heat_is_where_the_evidence_is(keras, nested):
    """A network whose one channel fires on bright pixels; its average speaks for malignant."""
    from mammotrain.gradcam import heat_maps, map_tensors

    pixels = keras.Input((64, 64, 3))
    first = keras.layers.Conv2D(2, 8, strides=8, activation="relu", name="patches")
    if nested:
        inside = keras.Input((64, 64, 3))
        base = keras.Model(inside, first(inside), name="base")
        maps = base(pixels)
    else:
        maps = first(pixels)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    dense = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(pixels, dense(pooled))
    kernel = np.zeros((8, 8, 3, 2), np.float32)
    kernel[..., 0], kernel[..., 1] = 1 / 192, -1 / 192
    first.set_weights([kernel, np.array([-100.0, 255.0], np.float32)])
    dense.set_weights([np.array([[0.1], [-0.1]], np.float32), np.array([0.0], np.float32)])
    pictures = np.zeros((2, 64, 64, 3), np.uint8)
    pictures[0, 40:48, 8:16] = 250
    assert [tuple(one.shape) for one in map_tensors(model)] == [(None, 8, 8, 2)]
    heat = heat_maps(model, pictures)
    assert heat.shape == (2, 64, 64)
    row, column = np.unravel_index(int(heat[0].argmax()), (64, 64))
    assert 40 <= row < 48
    assert 8 <= column < 16
    assert heat[0].max() == 1.0
    assert heat[0, :32].max() == 0.0
    assert heat[1].max() == 0.0  # nothing speaks for malignant


@pytest.mark.spark
@pytest.mark.parametrize(
    ("backbone", "pooling", "maps"), [("mobilenet_v2_035", "avg", 1), ("vgg16", "texture", 2)]
)
def test_the_networks_of_the_application_have_maps(keras, tmp_path, backbone, pooling, maps):
    from mammotrain.backbones import build_extractor
    from mammotrain.gradcam import heat_maps, map_tensors

    extractor = build_extractor(backbone, pooling, None, 0)
    head = keras.Sequential(
        [keras.Input(extractor.output.shape[1:]), keras.layers.Dense(1, activation="sigmoid")]
    )
    keras.Model(extractor.input, head(extractor.output)).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert len(map_tensors(model)) == maps
    noise = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.uint8)
    heat = heat_maps(model, noise)
    assert heat.shape == (1, 224, 224)
    assert np.isfinite(heat).all()
