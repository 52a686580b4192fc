"""Whole runs on `local[2]` with tiny images and a small random network."""

import csv
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packing import encode, pack, phantom, row, rows

pytest.importorskip("pyspark")
pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("local_spark")]

APP = Path(__file__).parents[1]


def train(data, output, cache, *extra):
    """Run the application in this process; returns its exit code and its events."""
    from mammotrain.cli import main

    events = output.with_suffix(".jsonl")
    code = main(
        [
            *("--data", str(data), "--features", str(cache), "--output", str(output)),
            *("--weights", "none", "--backbone", "mobilenet_v2_035", "--bootstrap", "50"),
            *("--epochs", "2", "--progress", str(events), *extra),
        ]
    )
    return code, [json.loads(line) for line in events.read_text().splitlines()]


def load(output, name):
    return json.loads((output / name).read_text())


BAD = [
    row("bad-1", "pat000", "benign", b"not an image", "png"),
    row("bad-2", "pat000", "benign", encode(phantom(77, malignant=False))[:300], "png"),
    row("bad-3", "pat001", "cyst", encode(phantom(78, malignant=False)), "png"),
]


@pytest.fixture(scope="module")
def first(local_spark, tmp_path_factory):
    """The first run on a data set with three bad images."""
    folder = tmp_path_factory.mktemp("app")
    data = pack(folder / "data", rows() + BAD)
    cache = folder / "cache"
    publish = folder / "published" / "job"
    code, events = train(data, folder / "one", cache, "--publish", f"file://{publish}")
    assert code == 0
    return folder, data, cache, events


def test_all_results_are_there_and_published(first):
    folder, *_ = first
    names = {
        *("model.keras", "metrics.json", "history.json", "accuracy.png", "loss.png"),
        *("rejects.csv", "timings.json"),
        *("report.html", "model_card.json", "model_card.md"),
    }
    assert {path.name for path in (folder / "one").iterdir()} == names
    assert {p.name for p in (folder / "published" / "job").iterdir() if p.name[0] != "."} == names
    assert [path.name for path in (folder / "published").iterdir()] == ["job"]


def test_bad_images_are_listed_and_cost_nothing_else(first):
    folder, *_ = first
    with (folder / "one" / "rejects.csv").open(newline="") as file:
        listed = {line["image_id"]: line["reason"] for line in csv.DictReader(file)}
    assert listed == {
        "bad-1": "not an image of a known format",
        "bad-2": "truncated or damaged",
        "bad-3": "label is neither benign nor malignant",
    }
    metrics = load(folder / "one", "metrics.json")
    assert metrics["data"]["images"] == 24
    assert metrics["data"]["rejected"] == 3
    assert metrics["features"]["computed"] == 24


def test_the_numbers_add_up_and_random_weights_are_flagged(first):
    folder, *_ = first
    metrics = load(folder / "one", "metrics.json")
    assert metrics["meaningful"] is False
    assert any("mean nothing" in text for text in metrics["warnings"])
    assert metrics["train"]["images"] + metrics["validation"]["images"] == 24
    assert metrics["train"]["patients"] + metrics["validation"]["patients"] == 12
    assert metrics["model_check"]["images"] == 4
    assert metrics["model_check"]["largest_difference"] <= 1e-4
    history = load(folder / "one", "history.json")
    assert len(history["val_loss"]) == 2
    assert history["accuracy"][-1] == pytest.approx(metrics["train"]["accuracy"])
    timings = load(folder / "one", "timings.json")
    assert set(timings["stages"]) == {"start", "read", "features", "train", "evaluate", "report"}
    assert sum(timings["tasks_per_node"].values()) >= 2


def test_progress_reaches_the_end_of_every_stage(first):
    events = first[3]
    assert [e["stage"] for e in events if e["event"] == "stage_finished"] == [
        *("read", "features", "train", "evaluate", "report")
    ]
    done = [
        e["done"] for e in events if e["event"] == "stage_progress" and e["stage"] == "features"
    ]
    assert done == sorted(done)
    assert done[-1] == 26  # decoding was tried for 26 of 27
    assert [e["done"] for e in events if e["event"] == "epoch"] == [1, 2]
    assert events[-1]["event"] == "message"
    assert [e["metrics"]["schema"] for e in events if e["event"] == "result"] == [1]


def test_the_saved_model_takes_plain_pixels(first):
    import keras

    folder, *_ = first
    model = keras.models.load_model(folder / "one" / "model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)
    scores = np.asarray(model(pixels, training=False))
    assert scores.shape == (2, 1)
    assert ((scores > 0) & (scores < 1)).all()


def test_the_saved_model_says_how_it_is_used(first):
    from mammotrain.description import read_description

    folder, *_ = first
    metrics = load(folder / "one", "metrics.json")
    about = read_description(folder / "one" / "model.keras")
    assert (about.size, about.fit, about.meaningful) == (224, "crop", False)
    assert about.threshold == metrics["chosen"]["threshold"]
    assert about.temperature == metrics["chosen"]["temperature"]
    assert about.data == {"name": "phantoms"}


def test_no_name_of_a_patient_is_in_any_text(first):
    folder, _, _, events = first
    texts = json.dumps(events) + "".join(
        path.read_text()
        for path in (folder / "one").iterdir()
        if path.suffix in (".json", ".csv", ".md", ".html")
    )
    assert "Secret" not in texts
    assert "pat0" not in texts


def test_a_second_run_does_no_work_and_gives_the_same(first):
    folder, data, cache, _ = first
    # What a driver that was killed leaves behind must not be taken for features.
    (orphan := next(cache.iterdir()) / "dead" / "_temporary" / "0").mkdir(parents=True)
    (orphan / "part-00000.parquet").write_bytes(b"half")
    (orphan.parents[1] / "part-00001.parquet").write_bytes(b"PAR1 torn")
    code, _ = train(data, folder / "two", cache)
    assert code == 0
    one, two = load(folder / "one", "metrics.json"), load(folder / "two", "metrics.json")
    assert two["features"]["computed"] == 0
    assert two["features"]["cached"] == 24
    # not even the images that cannot be used are read again
    assert load(folder / "two", "timings.json")["tasks_per_node"] == {}
    for name in ("features", "model_check"):
        del one[name], two[name]
    assert one == two
    assert load(folder / "one", "history.json") == load(folder / "two", "history.json")
    assert (folder / "one" / "rejects.csv").read_text() == (
        folder / "two" / "rejects.csv"
    ).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["sync", "averaging"])
def test_the_executors_train_too(first, strategy):
    """One executor has one rank: it must end where the driver alone ends."""
    folder, data, cache, _ = first
    output = folder / strategy
    code, events = train(data, output, cache, "--strategy", strategy)
    assert code == 0
    one, two = load(folder / "one", "metrics.json"), load(output, "metrics.json")
    assert two["training"]["strategy"] == strategy
    assert two["features"]["computed"] == 0
    assert [e["done"] for e in events if e["event"] == "epoch"] == [1, 2]
    if strategy == "sync":
        assert two["train"]["loss"] == pytest.approx(one["train"]["loss"], abs=1e-4)
        assert two["validation"]["auc"] == pytest.approx(one["validation"]["auc"])
    else:
        # 18 training images are fewer than a batch: nobody can average
        assert two["training"]["skipped_partitions"] == 1
        assert any("too small to train" in text for text in two["warnings"])
    assert not list(cache.rglob("*.npz"))  # checkpoints of trainings that have ended


def test_new_images_cost_only_themselves(first, monkeypatch):
    from mammotrain import cache as module

    folder, _, cache, _ = first
    monkeypatch.setattr(module, "LARGE", 1000)  # the features come in pieces of about ten images
    monkeypatch.setattr(module, "PIECE_BYTES", 10 * 1280 * 4)
    more = pack(folder / "more", rows(14))
    extra = ("--pictures", "2", "--saved-model", "yes", "--augment", "flips", "--folds", "2")
    code, _ = train(more, folder / "three", cache, "--test", "0.2", "--seed", "0", *extra)
    assert code == 0
    page = (folder / "three" / "report.html").read_text()
    assert "Single cases" in page
    assert 1 <= page.count("<figure>") <= 8
    names = zipfile.ZipFile(folder / "three" / "saved_model.zip").namelist()
    assert {"saved_model/saved_model.pb", "saved_model/mammotrain.json"} <= set(names)
    assert "Single cases" not in (folder / "one" / "report.html").read_text()
    metrics = load(folder / "three", "metrics.json")
    assert metrics["features"]["computed"] == 4
    assert metrics["features"]["cached"] == 24
    assert metrics["split"]["parts"] == ["train", "validation", "test"]
    assert metrics["features"]["augment"] == "flips"
    with (folder / "three" / "cross_validation.csv").open(newline="") as file:
        judged = list(csv.DictReader(file))
    assert len(judged) == metrics["cross_validation"]["images"] == 28
    assert {line["fold"] for line in judged} == {"1", "2"}
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2  # plain and mirrored


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda f: f / "nowhere", "no data set"),
        (lambda f: pack(f / "empty", []), "no rows"),
        (lambda f: pack(f / "benign", rows()[2:6]), "all usable images are benign"),
        (lambda f: pack(f / "one", [{**r, "patient_id": "p"} for r in rows(4)]), "1 patient"),
        (
            lambda f: pack(
                f / "noise",
                [
                    row(f"n{i}", f"p{i}", ("benign", "malignant")[i % 2], b"x%d" % i, "png")
                    for i in range(4)
                ],
            ),
            "no usable image.*4 rejected, most often: not an image of a known format, 4 times",
        ),
    ],
)
def test_unusable_input_ends_with_2_and_one_line(tmp_path, data, message):
    code, events = train(data(tmp_path), tmp_path / "out", tmp_path / "cache")
    assert code == 2
    errors = [e for e in events if e["event"] == "message" and e["level"] == "error"]
    assert len(errors) == 1
    assert re.search(message, errors[0]["text"])
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_unknown_patients_are_a_warning(first, tmp_path):
    cache = first[2]
    data = pack(tmp_path / "data", [{**r, "patient_id": None} for r in rows()], source="none")
    code, _ = train(data, tmp_path / "out", cache)
    assert code == 0
    metrics = load(tmp_path / "out", "metrics.json")
    assert metrics["split"]["by"] == "image"
    assert any("by image" in text for text in metrics["warnings"])


def test_some_unknown_patients_are_a_warning_too(first, tmp_path):
    cache = first[2]
    some = [{**r, "patient_id": r["image_id"]} if r["image_id"] < "img002" else r for r in rows()]
    code, _ = train(pack(tmp_path / "data", some), tmp_path / "out", cache)
    assert code == 0
    metrics = load(tmp_path / "out", "metrics.json")
    assert (metrics["split"]["by"], metrics["split"]["without_patient"]) == ("patient", 4)
    assert any("4 of 24 images have no patient" in text for text in metrics["warnings"])
    assert "4 of 24 images" in (tmp_path / "out" / "model_card.md").read_text()


def test_wrong_weights_are_refused_before_any_work(first, tmp_path):
    _, data, *_ = first
    weights = tmp_path / "vgg.weights.h5"
    weights.write_bytes(b"not HDF5")
    cache = tmp_path / "cache"
    code, events = train(
        data, tmp_path / "a", cache, "--weights", str(weights), "--weights-sha256", "0" * 64
    )
    assert code == 1
    assert "sha256" in events[-1]["text"]
    code, events = train(data, tmp_path / "b", cache, "--weights", str(tmp_path / "none.h5"))
    assert code == 1
    assert "no weights file" in events[-1]["text"]
    code, events = train(data, tmp_path / "c", cache, "--weights", str(weights))
    assert code == 1
    assert "not HDF5" in events[-1]["text"]
    assert not cache.exists()


def test_under_spark_submit_with_a_zip_the_exit_code_comes_through(tmp_path):
    import pyspark

    archive = tmp_path / "mammotrain.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for source in sorted((APP / "mammotrain").glob("*.py")):
            file.write(source, f"mammotrain/{source.name}")
    (tmp_path / "train.py").write_bytes((APP / "train.py").read_bytes())
    data = pack(tmp_path / "data", rows()[2:6])
    done = subprocess.run(
        [
            *(f"{Path(pyspark.__file__).parent}/bin/spark-submit", "--master", "local[2]"),
            *("--py-files", str(archive), str(tmp_path / "train.py"), "--data", str(data)),
            *("--features", str(tmp_path / "cache"), "--output", str(tmp_path / "out")),
            *("--weights", "none"),
        ],
        env={k: v for k, v in os.environ.items() if k != "PYSPARK_SUBMIT_ARGS"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # spark-submit merges both streams of the application into its own standard output.
    assert done.returncode == 2, done.stderr[-3000:]
    assert "all usable images are benign" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
