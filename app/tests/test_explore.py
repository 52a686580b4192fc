"""The look at a data set: tables by SQL, clusters of features that are known beforehand."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mammotrain.clusters import by_size, composition, cramers_v
from packing import encode, phantom, row, rows

DIMENSION = 1280  # of mobilenet_v2_035


def test_the_largest_cluster_comes_first():
    assert by_size(np.array([2, 2, 0, 1, 1, 2])).tolist() == [0, 0, 2, 1, 1, 0]


def test_what_goes_with_the_clusters():
    members = np.array([0, 0, 0, 0, 1, 1, 1, 1] * 5)
    about = [
        {"machine": "a" if one == 0 else "b", "view": ("CC", "MLO")[i % 2], "site": "only"}
        for i, one in enumerate(members)
    ]
    about[0] = {"view": "CC"}
    found = composition(members, about, ("machine", "view", "site", "age"))
    assert set(found) == {"machine", "view"}
    assert found["machine"]["counts"] == {"a": {0: 19}, "b": {1: 20}}
    assert found["machine"]["cramers_v"] == pytest.approx(1.0)
    assert found["view"]["cramers_v"] == 0.0


def test_cramers_v_by_hand():
    # chi squared 4.0 of 16 images: phi squared 1/4, less 1/15, over a corrected side of 14/15
    counts = {"x": {0: 6, 1: 2}, "y": {0: 2, 1: 6}}
    assert cramers_v(counts) == pytest.approx(np.sqrt((1 / 4 - 1 / 15) / (14 / 15)))
    assert cramers_v({"x": {0: 5}, "y": {0: 5}}) is None


def packed(folder, data):
    """Write a data set with all optional columns."""
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(data), folder / "part-00000.parquet")
    (folder / "dataset.json").write_text(json.dumps({"name": "<phantoms>"}))
    return folder


def described():
    data = []
    for number, one in enumerate(rows(12)):
        more = {
            "view": ("CC", "MLO")[number % 2],
            "laterality": "L",
            "age": str(30 + number),
            "density": "",
            "machine": "m1" if number < 10 else "m2",
            "site": " ",
            "warnings": ["burnt in"] if number == 0 else [],
            "reject": None,
        }
        data.append({**one, **more})
    broken = row("video", "pat000", "benign", b"", "dicom")
    data.append({**data[0], **broken, "sha256": None, "warnings": [], "reject": "a video"})
    extra = encode(phantom(99, malignant=False))
    data.append({**data[1], **row("new", "pat099", None, extra, "png")})
    return data


def remember(cache, data, values):
    """Fill the feature cache: nothing has to be computed."""
    from mammotrain.backbones import find
    from mammotrain.cache import FeatureKey
    from mammotrain.decode import PREPROCESSING_VERSION

    size = find("mobilenet_v2_035").size
    key = FeatureKey("mobilenet_v2_035", "avg", size, "random:0", PREPROCESSING_VERSION, "crop")
    known = {one["sha256"]: value for one, value in zip(data, values, strict=True) if one["sha256"]}
    table = pa.table(
        {
            "sha256": list(known),
            "features": pa.array(list(known.values()), pa.list_(pa.float32())),
            "reason": pa.nulls(len(known), pa.string()),
            "warnings": pa.array([[]] * len(known), pa.list_(pa.string())),
            "node": ["here"] * len(known),
            "task": [0] * len(known),
            "seconds": [0.1] * len(known),
            "rss_mb": [1.0] * len(known),
        }
    )
    folder = cache / key.digest() / "run"
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "part-00000.parquet")


def explore(data, cache, output, *more):
    from mammotrain.explore_cli import main

    return main(
        [
            *("--data", str(data), "--features", str(cache), "--output", str(output)),
            *("--backbone", "mobilenet_v2_035", "--weights", "none", "--clusters", "4", *more),
        ]
    )


@pytest.mark.spark
@pytest.mark.slow
def test_tables_and_clusters(local_spark, tmp_path):
    data = described()
    draw = np.random.default_rng(0)
    # what the machine sees is all that the network sees
    centres = {"m1": draw.normal(0, 3, DIMENSION), "m2": draw.normal(0, 3, DIMENSION)}
    values = [centres[one["machine"]] + draw.normal(0, 0.5, DIMENSION) for one in data]
    remember(tmp_path / "cache", data, values)
    output = tmp_path / "out"
    assert explore(packed(tmp_path / "data", data), tmp_path / "cache", output) == 0
    assert {path.name for path in output.iterdir()} == {
        *("metrics.json", "timings.json", "clusters.csv", "explore.html"),
        *("data.png", "clusters.png"),
    }
    metrics = json.loads((output / "metrics.json").read_text())
    tables = metrics["tables"]
    assert "site" not in tables
    assert "density" not in tables
    assert tables["all"][0]["images"] == 26
    assert tables["all"][0]["patients"] == 13
    assert {line["label"]: line["images"] for line in tables["label"]} == {
        "benign": 17,
        "malignant": 8,
        "unknown": 1,
    }
    assert [line["view"] for line in tables["view"]] == ["L CC", "L MLO"]
    assert [line["age"] for line in tables["age"]] == ["30 to 39", "40 to 49", "50 to 59"]
    assert tables["images of a patient"] == [
        {"images": 1, "patients": 1, "with a malignant image": None},
        {"images": 2, "patients": 11, "with a malignant image": 3},
        {"images": 3, "patients": 1, "with a malignant image": 1},
    ]
    assert tables["warning"] == [{"warning": "burnt in", "images": 1}]
    assert tables["reason of a rejection"] == [{"reason": "a video", "images": 1}]
    assert "same content" not in tables
    clusters = metrics["clusters"]
    assert clusters["k"] == 2
    assert clusters["goes_with"]["machine"]["cramers_v"] == pytest.approx(1.0)
    assert clusters["sizes"] == [14, 11]
    assert set(clusters["goes_with"]["age"]["counts"]) == {"under 40", "40 to 49", "50 to 59"}
    assert clusters["goes_with"]["machine"]["counts"] == {"m1": {"1": 11}, "m2": {"0": 14}}
    with (output / "clusters.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 25
    assert len({(line["machine"], line["cluster"]) for line in lines}) == 2
    page = (output / "explore.html").read_text()
    assert "&lt;phantoms&gt;" in page
    assert "http" not in page
    for text in (
        page,
        (output / "metrics.json").read_text(),
        (output / "clusters.csv").read_text(),
    ):
        assert "pat0" not in text

    # images that are all alike, and the same again: nothing changes
    again = tmp_path / "again"
    assert explore(tmp_path / "data", tmp_path / "cache", again) == 0
    assert (again / "clusters.csv").read_text() == (output / "clusters.csv").read_text()
    remember(tmp_path / "flat", data, [np.ones(DIMENSION)] * len(data))
    assert explore(tmp_path / "data", tmp_path / "flat", tmp_path / "same") == 0
    metrics = json.loads((tmp_path / "same" / "metrics.json").read_text())
    assert metrics["clusters"] is None
    assert any("look the same" in text for text in metrics["warnings"])
    assert explore(tmp_path / "nowhere", tmp_path / "flat", tmp_path / "none") == 2
