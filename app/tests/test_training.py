"""Training on made-up features: the loop, its ranks, checkpoints, averaging."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest
from mammotrain.averaging import averaged, partition_rows, usable
from mammotrain.checkpoint import Checkpoints, identity
from mammotrain.dataset import Image
from mammotrain.errors import TrainError
from mammotrain.loop import HeadOptions, Rank, step_rows

RNG = np.random.default_rng(0)
LABELS = (RNG.random(200) < 0.35).astype(np.int64)
FEATURES = (RNG.normal(0, 1, (200, 24)) + 1.5 * LABELS[:, None] * (np.arange(24) < 4)).astype(
    np.float32
)
TRAIN, VALIDATION = (FEATURES[:70], LABELS[:70]), (FEATURES[70:], LABELS[70:])
PLAIN = HeadOptions(units=8, dropout=0.0, epochs=3, batch=16)


class Folder:
    """A storage that is a dictionary."""

    def __init__(self):
        self.files = {}

    def read_bytes(self, uri):
        return self.files.get(uri)

    def write_bytes(self, uri, data):
        self.files[uri] = data

    def remove(self, uri):
        self.files.pop(uri, None)


def train(options, **more):
    from mammotrain.train import train_head

    seen = []
    result = train_head(TRAIN, VALIDATION, options, lambda n, _: seen.append(n), **more)
    return (*result, seen)


def values(model):
    return [np.asarray(v) for v in model.trainable_variables]


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_ranks_share_each_step_and_have_as_many(world):
    ranks = [step_rows(70, PLAIN, 4, Rank(number, world)) for number in range(world)]
    alone = step_rows(70, PLAIN, 4, Rank())
    assert {len(steps) for steps in ranks} == {5}
    for step, (rows, total) in enumerate(alone):
        shared = np.concatenate([steps[step][0] for steps in ranks])
        assert sorted(shared) == sorted(rows)
        assert {steps[step][1] for steps in ranks} == {total}
    assert sorted(np.concatenate([rows for rows, _ in alone])) == list(range(70))


def test_epochs_have_orders_of_their_own():
    first, second = (step_rows(70, PLAIN, epoch, Rank())[0][0] for epoch in (0, 1))
    assert not np.array_equal(first, second)
    other = step_rows(70, replace(PLAIN, seed=1), 0, Rank())[0][0]
    assert not np.array_equal(first, other)


class TestTensorFlow:
    @pytest.fixture(autouse=True)
    def _tensorflow(self):
        pytest.importorskip("tensorflow")

    def test_training_learns_and_repeats(self):
        options = replace(PLAIN, dropout=0.4, epochs=12, learning_rate=0.02)
        one, history, epoch, seen = train(options)
        two, *_ = train(options)
        assert seen == list(range(1, 13))
        assert epoch == 12
        assert history["loss"][-1] < history["loss"][0]
        assert history["val_auc"][-1] > 0.7
        for a, b in zip(values(one), values(two), strict=True):
            assert np.array_equal(a, b)

    def test_adam_and_loss_are_those_of_keras_fit(self):
        """One batch an epoch, so that the order within it does not matter."""
        import keras
        from mammotrain.head import build_head
        from mammotrain.loop import class_weights

        options = replace(PLAIN, batch=70, epochs=4)
        mine, *_ = train(options)
        keras.utils.set_random_seed(options.seed)
        theirs = build_head(TRAIN[0], options)
        theirs.compile(keras.optimizers.Adam(options.learning_rate), "binary_crossentropy")
        theirs.fit(*TRAIN, batch_size=70, epochs=4, class_weight=class_weights(TRAIN[1]), verbose=0)
        for a, b in zip(values(mine), values(theirs), strict=True):
            assert np.allclose(a, b, atol=1e-5)

    def test_l2_keeps_the_kernels_small(self):
        free, *_ = train(replace(PLAIN, epochs=8, learning_rate=0.02))
        held, *_ = train(replace(PLAIN, epochs=8, learning_rate=0.02, l2=1.0))
        assert np.abs(values(held)[0]).sum() < 0.8 * np.abs(values(free)[0]).sum()

    def test_without_hidden_units_it_is_logistic_regression(self):
        model, *_ = train(replace(PLAIN, units=0))
        assert [v.shape for v in values(model)] == [(24, 1), (1,)]

    @pytest.mark.parametrize("dropout", [0.0, 0.4])
    def test_a_restarted_training_ends_as_if_nothing_had_happened(self, dropout):
        options = replace(PLAIN, dropout=dropout, epochs=5)
        whole, history, *_ = train(options)
        folder = Folder()
        saved = Checkpoints(folder, "f", "job")

        def crash(epoch, _):
            if epoch == 3:
                raise RuntimeError("the driver dies")

        from mammotrain.train import train_head

        with pytest.raises(RuntimeError):
            train_head(TRAIN, VALIDATION, options, crash, checkpoints=saved)
        assert list(folder.files) == ["f/job.npz"]
        again, same, epoch, seen = train(options, checkpoints=saved)
        assert seen == [1, 2, 3, 4, 5]
        assert (same, epoch) == (history, 5)
        for a, b in zip(values(whole), values(again), strict=True):
            assert np.array_equal(a, b)

    def test_a_torn_checkpoint_is_not_believed(self):
        folder = Folder()
        saved = Checkpoints(folder, "f", "job")
        _, history, *_ = train(PLAIN, checkpoints=saved)
        for data in (b"", b"PK torn", folder.files["f/job.npz"][:200]):
            folder.files["f/job.npz"] = data
            assert saved.load() is None
            assert train(PLAIN, checkpoints=saved)[1] == history
        saved.remove()
        assert folder.files == {}

    def test_early_stopping_returns_the_best_epoch(self):
        options = replace(PLAIN, epochs=60, patience=4, learning_rate=0.05)
        model, history, epoch, _ = train(options)
        found = history["val_auc"]
        assert len(found) == epoch + 4 < 60
        assert found[epoch - 1] == max(found)
        assert found[epoch - 1] not in found[epoch:]
        from mammotrain.head import predict
        from mammotrain.metrics import auc

        assert auc(VALIDATION[1], predict(model, VALIDATION[0])) == found[epoch - 1]

    @pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
    def test_ranks_that_share_gradients_end_as_one_process(self, world):
        """Real processes with MultiWorkerMirroredStrategy between them, on loopback."""
        trainer = fresh(PLAIN)
        shared = ranks(world, PLAIN, trainer.state())
        for epoch in range(PLAIN.epochs):
            trainer.epoch(epoch)
        assert len(shared) == PLAIN.epochs
        for name, value in trainer.state().items():
            assert np.allclose(value, shared[-1][name], atol=1e-5), name

    @pytest.mark.slow
    def test_ranks_with_dropout_repeat(self):
        options = replace(PLAIN, dropout=0.5, l2=0.01)
        start = fresh(options).state()
        one, two = (ranks(2, options, start)[-1] for _ in range(2))
        for name, value in one.items():
            assert np.array_equal(value, two[name]), name
        assert not np.array_equal(one["model.0"], start["model.0"])

    @pytest.mark.slow
    def test_a_rank_that_fails_says_why(self):
        from mammotrain.sync import _packed, rank_process

        job = {"options": asdict(PLAIN), "epochs": [0], "rank": 0, "addresses": [free_port()]}
        with (
            pytest.raises(TrainError, match="rank 0 of the training failed: KeyError"),
            rank_process(job, _packed({"x": TRAIN[0]}), _packed({"none": TRAIN[0]})),
        ):
            pass


def fresh(options):
    """A trainer that has done nothing yet."""
    import keras
    from mammotrain.head import build_head
    from mammotrain.loop import Trainer

    keras.utils.set_random_seed(options.seed)
    return Trainer(build_head(TRAIN[0], options), TRAIN, options)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def ranks(world, options, state):
    """Run ranks as processes; returns the values after each epoch."""
    from threading import Barrier

    from mammotrain.sync import _packed, _unpacked_list, rank_process

    job = {"options": asdict(options), "epochs": list(range(options.epochs))}
    job["addresses"] = [free_port() for _ in range(world)]
    data, start = _packed({"x": TRAIN[0], "y": TRAIN[1]}), _packed(state)
    together = Barrier(world)

    def run(number):
        with rank_process({**job, "rank": number}, data, start) as answer:
            together.wait(60)
        return answer

    with ThreadPoolExecutor(world) as pool:
        return _unpacked_list(next(iter(pool.map(run, range(world)))))


def test_ports_are_taken_from_the_range():
    from mammotrain.sync import reserve

    with reserve("127.0.0.1", (17260, 17262), 1) as one:
        assert one.getsockname()[1] == 17261
        with (
            reserve("127.0.0.1", (17260, 17262), 1) as two,
            reserve("127.0.0.1", (17260, 17262), 1) as three,
        ):
            taken = {two.getsockname()[1], three.getsockname()[1]}
            assert taken == {17260, 17262}
            with pytest.raises(TrainError, match="--ports"):
                reserve("127.0.0.1", (17260, 17262), 0)


def test_partitions_share_the_rows_and_small_ones_do_not_count():
    rows = partition_rows(70, 3, 0)
    assert sorted(np.concatenate(rows)) == list(range(70))
    assert {len(part) for part in rows} == {23, 24}
    assert usable(LABELS, rows[0], 16)
    assert not usable(LABELS, rows[0], 24)
    assert not usable(LABELS, np.flatnonzero(LABELS), 4)


def test_an_average_is_weighted_by_rows():
    one, two = {"a": np.zeros(2, np.float32)}, {"a": np.ones(2, np.float32)}
    found = averaged([(30, one), (10, two)])
    assert found["a"].dtype == np.float32
    assert found["a"] == pytest.approx([0.25, 0.25])


def test_a_checkpoint_is_of_one_training():
    parts = {"train": [Image("a", "p", 0, "1")], "validation": [Image("b", "q", 1, "2")]}
    name = identity("key", "local", PLAIN, parts)
    others = [
        identity("other", "local", PLAIN, parts),
        identity("key", "sync", PLAIN, parts),
        identity("key", "local", replace(PLAIN, epochs=99), parts),
        identity("key", "local", replace(PLAIN, seed=1), parts),
        identity("key", "local", PLAIN, {"train": [Image("a", "p", 1, "1")]}),
    ]
    assert len({name, *others}) == 6
