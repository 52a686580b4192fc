"""Fine-tuning on made-up activations, and what it leaves in the saved model."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from mammotrain.backbones import BACKBONES, BOUNDARY, LastBlock, build_extractor, dimension
from mammotrain.checkpoint import Checkpoints
from mammotrain.gpus import assigned
from mammotrain.loop import HeadOptions

OPTIONS = HeadOptions(units=0, dropout=0.0, l2=0.01, epochs=2, batch=8, learning_rate=1e-3)


class Folder:
    """A storage that is a dictionary."""

    def __init__(self):
        self.files = {}

    def read_bytes(self, uri):
        return self.files.get(uri)

    def write_bytes(self, uri, data):
        self.files[uri] = data


@pytest.fixture
def small(monkeypatch):
    """VGG16 for images of 32 pixels: its maps are 4 and 2 pixels wide."""
    pytest.importorskip("tensorflow")
    last = {
        "averages": LastBlock("block3_pool", "block4_pool", 4 * 4 * 256, 256),
        "texture": LastBlock("block3_pool", "block4_pool", 4 * 4 * 256, 512),
        "avg": LastBlock("block4_pool", "block5_pool", 2 * 2 * 512, 0),
        "blocks": LastBlock("block4_pool", "block5_pool", 2 * 2 * 512, 1536),
    }
    monkeypatch.setitem(BACKBONES, "vgg16", replace(BACKBONES["vgg16"], size=32, last=last))


def pixels(n):
    """Noise, in every second image on a bright ground: their features are far apart."""
    noise = np.random.default_rng(0).integers(0, 120, (n, 32, 32, 3))
    return (noise + 120 * (np.arange(n) % 2)[:, None, None, None]).astype(np.float32)


def inputs_of(pooling, images, labels):
    from mammotrain.tune import Inputs

    whole = np.asarray(build_extractor("vgg16", pooling, None, 0)(images))
    boundary = np.asarray(build_extractor("vgg16", BOUNDARY + pooling, None, 0)(images))
    assert boundary.shape[1] == dimension("vgg16", BOUNDARY + pooling)
    frozen = BACKBONES["vgg16"].last[pooling].frozen
    return Inputs(whole[:, :frozen], boundary, labels), whole


@pytest.mark.parametrize("pooling", ["averages", "texture", "avg", "blocks"])
def test_an_untrained_block_gives_the_frozen_features(small, pooling):
    from mammotrain.head import build_head
    from mammotrain.tune import TuneOptions, Tuner

    labels = np.array([0, 1, 0, 1])
    inputs, whole = inputs_of(pooling, pixels(4), labels)
    head = build_head(whole, OPTIONS)
    tuner = Tuner("vgg16", pooling, None, head=head, options=OPTIONS, tune=TuneOptions(1))
    again = tuner.features(inputs.frozen, inputs.activations, batch=3)
    assert np.allclose(again, whole, atol=1e-4)


def test_training_moves_the_block_goes_on_after_a_stop_and_reaches_the_saved_model(small, tmp_path):
    import keras
    from mammotrain.head import build_head, predict, save_model
    from mammotrain.tune import TuneOptions, Tuner, fine_tune

    images, labels = pixels(12), np.arange(12) % 2
    inputs, whole = inputs_of("averages", images, labels)
    tune = TuneOptions(epochs=3, rate=1e-5)

    def tuner():
        keras.utils.set_random_seed(0)
        head = build_head(whole, OPTIONS)
        return Tuner("vgg16", "averages", None, head=head, options=OPTIONS, tune=tune)

    one = tuner()
    before = one.state()
    history, epoch = fine_tune(one, inputs, inputs, tune)
    assert epoch == 3
    assert history["loss"][-1] < history["loss"][0]
    assert len(history["val_auc"]) == 3
    after = one.state()
    assert any(np.abs(after[k] - before[k]).max() > 1e-6 for k in after if k.startswith("block."))

    saved = Checkpoints(Folder(), "f", "job")
    seen = []

    def crash(epoch, _):
        seen.append(epoch)
        if epoch == 2:
            raise RuntimeError("the driver dies")

    with pytest.raises(RuntimeError):
        fine_tune(tuner(), inputs, inputs, tune, on_epoch=crash, checkpoints=saved)
    two = tuner()
    again, _ = fine_tune(two, inputs, inputs, tune, checkpoints=saved)
    assert again["loss"] == pytest.approx(history["loss"], abs=1e-6)
    for name, value in two.state().items():
        assert np.allclose(value, after[name], atol=1e-6), name

    features = one.features(inputs.frozen, inputs.activations)
    difference = save_model(
        tmp_path / "model.keras",
        one.head,
        backbone="vgg16",
        pooling="averages",
        weights=None,
        seed=0,
        precision="float32",
        tail=one.tail,
        samples=images.astype(np.uint8)[:4],
        sample_features=features[:4],
    )
    assert difference < 1e-4
    frozen = predict(one.head, whole)
    assert not np.allclose(frozen, predict(one.head, features), atol=1e-6)  # something was tuned


def test_fine_tuning_stops_early_and_takes_the_best_epoch(monkeypatch):
    """Without a network: its state is the number of the epoch."""
    from mammotrain import tune

    class Counting:
        head = None
        at = 0

        def epoch(self, _, number):
            self.at = number + 1

        def features(self, *_):
            return np.zeros((2, 1), np.float32)

        def state(self):
            return {"at": np.array(self.at)}

        def load(self, state):
            self.at = int(state["at"])

    areas = [0.6, 0.8, 0.7, 0.8, 0.9]
    monkeypatch.setattr(tune, "measure", lambda *_: {"val_auc": areas[tuner.at - 1]})
    inputs = tune.Inputs(*(np.zeros((2, 1), np.float32),) * 2, np.array([0, 1]))
    seen, folder = [], Folder()
    for stop in (1, None):  # killed after the first epoch, and again

        def on_epoch(epoch, _, stop=stop):
            seen.append(epoch)
            if epoch == stop:
                raise RuntimeError

        tuner = Counting()
        how = {"on_epoch": on_epoch, "checkpoints": Checkpoints(folder, "f", "job")}
        with contextlib.suppress(RuntimeError):
            found = tune.fine_tune(tuner, inputs, inputs, tune.TuneOptions(5, 1e-5, 2), **how)
    assert found == ({"val_auc": areas[:4]}, 2)
    assert tuner.at == 2
    assert seen == [1, 1, 2, 3, 4]


def test_folds_never_see_features_that_were_tuned_on_their_patients(monkeypatch):
    from mammotrain import phases
    from mammotrain.cache import FeatureKey
    from mammotrain.dataset import Image
    from mammotrain.state import State

    images = [Image(name, name, place % 2, name) for place, name in enumerate("abcd")]
    key = FeatureKey("vgg16", "avg", 224, "random:0", 1)
    frozen, tuned = ({i.sha256: np.full(3, v, np.float32) for i in images} for v in (1.0, 9.0))
    state = State(None, None, key, None, None, images, [], vectors=tuned, untuned=frozen)
    seen = []

    def train_head(part, *_):
        seen.append(part[0])
        return None, {}, 1

    monkeypatch.setattr(phases, "train_head", train_head)
    monkeypatch.setattr(phases, "predict", lambda _, matrix: seen.append(matrix) or matrix[:, 0])
    phases.held_out_scores(state, images[:2], images[2:], OPTIONS)
    assert [matrix.max() for matrix in seen] == [1.0, 1.0]
    assert state.arrays(images)[0].min() == 9.0


class Context:
    def __init__(self, resources):
        self._resources = resources

    def resources(self):
        return self._resources


def test_a_task_sees_the_gpus_that_spark_gave_it():
    class Gpus:
        addresses = ("1", "3")

    assert assigned(Context({"gpu": Gpus()})) == {"CUDA_VISIBLE_DEVICES": "1,3"}
    assert assigned(Context({})) == {}
    assert assigned(None) == {}
