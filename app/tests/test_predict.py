"""Predictions: what a model says about itself, what is judged, what is written."""

import csv
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mammotrain.cache import FeatureKey, FeatureRows
from mammotrain.dataset import Row
from mammotrain.decode import PREPROCESSING_VERSION, decode
from mammotrain.description import describe, read_description, write_description
from mammotrain.errors import TrainError
from mammotrain.inputs import Item, items_of
from mammotrain.predict import predictions_of
from mammotrain.predictions import write_predictions
from packing import dicom, encode, pack, phantom, row, rows

METRICS = {
    "chosen": {"part": "validation", "threshold": 0.4, "temperature": 2.0, "shift": 0.5},
    "meaningful": True,
}
KEY = FeatureKey("vgg16", "avg", 224, "0" * 64, PREPROCESSING_VERSION, "crop")


SEEN = ["b" * 64, "a" * 64]


def described(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    description = describe(METRICS, KEY, {"name": "some", "content": "c", "images": 3}, SEEN)
    write_description(path, description)
    return description


def test_a_model_says_how_it_is_used(tmp_path):
    path = tmp_path / "model.keras"
    written = described(path)
    assert read_description(path) == written
    assert written.data == {"name": "some", "content": "c"}
    assert written.threshold == 0.4
    # odds of one half: log odds 0, divided by 2, moved by 0.5
    assert written.judge(0.5) == (pytest.approx(1 / (1 + np.exp(-0.5))), "malignant")
    assert written.judge(0.39)[1] == "benign"
    assert zipfile.ZipFile(path).read("config.json") == b"{}"


def test_images_of_the_training_are_recognised(tmp_path):
    """However the data set was pushed again: with one image more it has another checksum."""
    from mammotrain.inputs import Inputs
    from mammotrain.predict import _remark

    described(tmp_path / "model.keras")
    model = read_description(tmp_path / "model.keras")
    assert model.seen == "a" * 12 + "b" * 12
    items = [Item("i1", "a" * 64), Item("i2", "c" * 64), Item("i3", "")]

    class Said(list):
        warn = list.append

        def message(self, *_):
            pass

    said = Said()
    _remark(replace(model, meaningful=True), Inputs(None, items, {"content": "other"}), said)
    assert len(said) == 1
    assert "trained on 1 of these 3 images" in said[0]
    _remark(replace(model, meaningful=True), Inputs(None, items[1:]), said)
    assert len(said) == 1


def test_a_model_that_cannot_be_used_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"no zip")
    with pytest.raises(TrainError, match=r"no \.keras file"):
        read_description(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(TrainError, match=r"has no mammotrain\.json"):
        read_description(path)
    described(path)
    document = json.loads(zipfile.ZipFile(path).read("mammotrain.json"))
    for change, message in (
        ({"preprocessing": PREPROCESSING_VERSION + 1}, "pixels of preprocessing"),
        ({"schema": 2}, "another version"),
        ({"more": 1}, "another version"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mammotrain.json", json.dumps({**document, **change}))
        with pytest.raises(TrainError, match=message):
            read_description(path)


def test_rows_need_neither_label_nor_patient():
    items = items_of(
        [
            Row("b", None, None, "s2"),
            Row("a", "p", "Malignant", "s1", None, {"view": "CC"}),
            Row("a", "p", "benign", "s3"),
            Row("", None, None, "s4"),
            Row("c", None, None, None, "a video"),
            Row("d", None, "cyst", None),
        ]
    )
    assert [(i.image_id, i.label, i.reject) for i in items] == [
        ("row-0", None, "no image id"),
        ("a", 1, None),
        ("a", 0, "image id appears twice"),
        ("b", None, None),
        ("c", None, "a video"),
        ("d", None, "no checksum"),
    ]
    assert items[1].labelled().patient_id == "p"
    assert items[3].labelled() is None


def test_tables_hold_everything_and_names_only_on_demand(tmp_path):
    path = tmp_path / "model.keras"
    description = described(path)
    items = [
        Item("a", "s1", 1, "p", {"view": "CC"}, "Doe^Jane/1.dcm"),
        Item("b", "s2", file="x.png"),
        Item("c", "", file="y.png", reject="empty file"),
    ]
    found = FeatureRows({"s1": np.array([0.4], np.float32)}, {"s2": "a colour picture"}, {})
    found.warnings["s1"] = ["marker removed", "inverted image mended"]
    one, two, three = judged = predictions_of(items, found, description)
    assert (one.called, one.label, two.called, three.reason) == (
        "malignant",
        "malignant",
        None,
        "empty file",
    )
    write_predictions(tmp_path, judged, files=False)
    text = (tmp_path / "predictions.csv").read_text()
    assert "Doe" not in text
    listed = list(csv.DictReader(text.splitlines()))
    assert listed[0]["warnings"] == "marker removed; inverted image mended"
    assert [line["reason"] for line in listed] == ["", "a colour picture", "empty file"]
    table = pq.read_table(tmp_path / "predictions.parquet").to_pydict()
    assert "file" not in table
    assert table["score"] == [pytest.approx(0.4), None, None]
    write_predictions(tmp_path, judged, files=True)
    assert "Doe^Jane/1.dcm" in (tmp_path / "predictions.csv").read_text()
    with pytest.raises(TrainError, match="scores of 1 images are not in the cache"):
        predictions_of([Item("z", "s9")], found, description)


# --- with Spark and TensorFlow ------------------------------------------------------------------


def predict(folder, output, *what):
    """Run the application in this process; returns its exit code and its events."""
    from mammotrain.predict_cli import main

    events = output.with_suffix(".jsonl")
    code = main(
        [
            *("--model", str(folder / "model.keras"), "--output", str(output)),
            *("--cache", str(folder / "scores"), "--progress", str(events)),
            *("--bootstrap", "20", *map(str, what)),
        ]
    )
    return code, [json.loads(line) for line in events.read_text().splitlines()]


def table_of(output):
    return pq.read_table(output / "predictions.parquet").to_pylist()


def expected(folder, contents):
    """Scores of some files by Keras alone, an image at a time."""
    import keras

    path = folder / "model.keras"
    about = read_description(path)
    model = keras.models.load_model(path, compile=False)
    scores = []
    for content in contents:
        pixels = decode(content, None, about.size, about.fit).pixels[np.newaxis]
        scores.append(float(np.asarray(model(pixels.astype(np.float32)))[0, 0]))
    return scores


@pytest.mark.spark
def test_a_data_set_is_judged_as_the_model_alone_would(judge):
    output = judge / "one"
    code, events = predict(judge, output, "--data", judge / "data")
    assert code == 0
    assert {path.name for path in output.iterdir()} == {
        *("predictions.csv", "predictions.parquet", "metrics.json", "timings.json")
    }
    found = table_of(output)
    by_id = {one["image_id"]: one for one in rows()}
    assert [one["image_id"] for one in found] == sorted(by_id)
    contents = [by_id[one["image_id"]]["content"] for one in found]
    assert [one["score"] for one in found] == pytest.approx(expected(judge, contents), abs=1e-4)
    assert len({round(one["score"], 3) for one in found}) > 12  # not the same for all
    threshold = read_description(judge / "model.keras").threshold
    assert [one["called"] for one in found] == [
        "malignant" if one["score"] >= threshold else "benign" for one in found
    ]
    assert {one["label"] for one in found} == {"benign", "malignant"}
    assert "pat0" not in (output / "predictions.csv").read_text()
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["data"]["images"] == 24
    assert metrics["labelled"]["patients"] == 12
    assert 0.0 <= metrics["labelled"]["auc"] <= 1.0
    assert metrics["meaningful"] is False
    done = [e["done"] for e in events if e["event"] == "stage_progress"]
    assert done == sorted(done)
    assert done[-1] == 24


@pytest.mark.spark
def test_a_second_run_computes_nothing_and_new_images_only_theirs(judge, tmp_path):
    predict(judge, tmp_path / "one", "--data", judge / "data")
    code, _ = predict(judge, tmp_path / "two", "--data", judge / "data")
    assert code == 0
    timings = json.loads((tmp_path / "two" / "timings.json").read_text())
    assert (timings["features"]["computed"], timings["features"]["cached"]) == (0, 24)
    assert table_of(tmp_path / "one") == table_of(tmp_path / "two")
    more = pack(tmp_path / "more", rows(13))
    assert predict(judge, tmp_path / "three", "--data", more)[0] == 0
    timings = json.loads((tmp_path / "three" / "timings.json").read_text())
    assert timings["features"]["computed"] == 2


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree of files of many kinds, in folders with spaces and other letters."""
    folder = tmp_path_factory.mktemp("tree") / "Jane Doe ł"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "1.dcm").write_bytes(dicom(phantom(1, malignant=True)))
    (folder / "a" / "2").write_bytes(dicom(phantom(2, malignant=False)))
    (folder / "a" / "b" / "3 %20.IMA").write_bytes(
        dicom(phantom(3, malignant=False), preamble=False)
    )
    (folder / "a" / "b" / "4.png").write_bytes(encode(phantom(4, malignant=True)))
    shutil.copy(folder / "a" / "b" / "4.png", folder / "copy.png")
    (folder / "notes.txt").write_text("Jane Doe, 1950")
    (folder / "cut.png").write_bytes(encode(phantom(5, malignant=False))[:200])
    (folder / ".hidden.png").write_bytes(encode(phantom(6, malignant=False)))
    return folder


@pytest.mark.spark
def test_a_dicom_tree_is_judged_file_by_file(judge, tree, tmp_path):
    code, events = predict(judge, tmp_path / "out", "--folder", tree)
    assert code == 0
    texts = json.dumps(events) + (tmp_path / "out" / "predictions.csv").read_text()
    assert "Jane" not in texts
    assert "1.dcm" not in texts
    assert len(table_of(tmp_path / "out")) == 7
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["data"]["images"] == 5
    assert metrics["labelled"] is None

    code, _ = predict(judge, tmp_path / "named", "--folder", f"{tree}/", "--file-names")
    assert code == 0
    found = {one["file"]: one for one in table_of(tmp_path / "named")}
    assert {name: one["reason"] for name, one in found.items() if one["reason"]} == {
        "notes.txt": "not an image of a known format",
        "cut.png": "truncated or damaged",
    }
    assert found["copy.png"]["score"] == found["a/b/4.png"]["score"]
    assert found["copy.png"]["image_id"] == found["a/b/4.png"]["image_id"]
    names = ["a/1.dcm", "a/2", "a/b/4.png"]
    assert [found[name]["score"] for name in names] == pytest.approx(
        expected(judge, [(tree / name).read_bytes() for name in names]), abs=1e-4
    )
    assert found["a/b/3 %20.IMA"]["score"] is not None


@pytest.mark.spark
def test_what_cannot_be_judged_ends_with_one_line(judge, tmp_path):
    nothing = pack(tmp_path / "noise", [row("n", "p", "benign", b"noise", "png")])
    (tmp_path / "bare").mkdir()
    for what, expected_code, message in (
        (("--data", nothing), 2, "no usable image (1 rejected, most often: not an image"),
        (("--data", tmp_path / "gone"), 2, "no data set"),
        (("--folder", tmp_path / "gone"), 2, "nothing at the --folder address"),
        (("--folder", tmp_path / "bare"), 2, "has no files"),
        (("--data", nothing, "--model-sha256", "0" * 64), 1, "sha256"),
        (("--data", nothing, "--model", tmp_path / "gone.keras"), 1, "no model"),
    ):
        code, events = predict(judge, tmp_path / f"out{expected_code}", *what)
        assert code == expected_code
        assert message in events[-1]["text"]
        assert not (tmp_path / f"out{expected_code}" / "predictions.csv").exists()
        Path(tmp_path / f"out{expected_code}.jsonl").unlink()
