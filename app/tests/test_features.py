import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from mammotrain import features
from mammotrain.cache import FeatureKey
from mammotrain.extractor import ExtractSettings
from mammotrain.features import extract, partitions
from packing import encode, phantom, row

KEY = FeatureKey("vgg16", "avg", 32, "a" * 64, 1)
SETTINGS = ExtractSettings(KEY, None, 0, 4)


class Counter:
    value = 0

    def add(self, n):
        self.value += n


@pytest.fixture
def calls(monkeypatch):
    """A network that gives the mean of each image, and what it was called with."""
    seen = []

    def network(block):
        seen.append(block.copy())
        return block.reshape(len(block), -1).mean(axis=1, keepdims=True) * np.ones((1, 3))

    monkeypatch.setattr(features, "network", lambda settings, threads: network)
    return seen


def batches(rows, size):
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(
            [
                {name: item[name] for name in ("sha256", "format", "content")}
                for item in rows[start : start + size]
            ]
        )


def images(n):
    return [
        row(f"i{k}", "p", "benign", encode(phantom(k, malignant=False)), "png") for k in range(n)
    ]


def test_every_digit_of_the_key_counts():
    assert KEY.digest() == FeatureKey("vgg16", "avg", 32, "a" * 64, 1).digest()
    changes = {
        "backbone": "vgg19",
        "pooling": "blocks",
        "size": 64,
        "weights": "random:0",
        "preprocessing": 2,
        "fit": "pad",
        "precision": "bfloat16",
        "variant": "flip",
    }
    keys = {KEY.digest()} | {
        dataclasses.replace(KEY, **{name: value}).digest() for name, value in changes.items()
    }
    assert len(keys) == 1 + len(dataclasses.fields(FeatureKey))


def test_a_field_that_came_later_leaves_older_caches_valid():
    """The digest this key had when it had six fields."""
    assert KEY.digest() == "f6b2d5d9a66394f5107d"


@pytest.mark.parametrize("arrow", [1, 3, 16])
def test_each_image_gets_its_own_features_however_the_rows_arrive(calls, arrow):
    rows = images(10)
    counter = Counter()
    result = pa.Table.from_batches(extract(SETTINGS, batches(rows, arrow), counter)).to_pylist()
    assert [item["sha256"] for item in result] == [item["sha256"] for item in rows]
    for item, source in zip(result, rows, strict=True):
        expected = features._prepare(
            (source["content"], source["sha256"], "png"), KEY
        ).pixels.mean()
        assert item["features"] == pytest.approx([expected] * 3, rel=1e-6)
        assert item["reason"] is None
    assert counter.value == 10
    assert [block.shape for block in calls] == [(4, 32, 32, 3)] * 3
    assert calls[-1][2:].max() == 0  # filled up


def test_a_bad_image_among_good_ones_costs_only_itself(calls):
    rows = images(4)
    rows[1]["content"] = b"damaged"
    rows[2]["content"] = None
    result = pa.Table.from_batches(extract(SETTINGS, batches(rows, 4))).to_pylist()
    assert [item["reason"] for item in result] == [
        None,
        "content does not match its checksum",
        "empty file",
        None,
    ]
    assert [item["features"] is None for item in result] == [False, True, True, False]
    assert len(calls) == 1


def test_without_a_good_image_the_network_is_never_loaded(calls):
    rows = [row("i", "p", "benign", b"nothing", "png")]
    result = pa.Table.from_batches(extract(SETTINGS, batches(rows, 1))).to_pylist()
    assert result[0]["reason"] == "not an image of a known format"
    assert calls == []


@pytest.mark.parametrize(
    ("count", "executors", "expected"),
    [(1, 3, 1), (16, 3, 1), (844, 1, 16), (844, 3, 48), (100_000, 3, 391), (100, 0, 7)],
)
def test_number_of_tasks(count, executors, expected):
    assert partitions(count, executors) == expected
