"""Predictions on the lab: a data set without labels, a DICOM tree, again, after a loss."""

from __future__ import annotations

import csv
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from .command import Cli, Finished
from .conftest import LAB, NODES, Provisioning, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

MASTER = NODES[0]
HDFS = "HADOOP_USER_NAME=spark /opt/mammoctl/bin/hdfs dfs"
FILES = {
    *("predictions.csv", "predictions.parquet", "metrics.json", "timings.json", "job.log"),
}
# a small backbone with random weights: what is tried here is the way, not the result
FAST = ("--backbone", "mobilenet_v2_035", "--weights", "none", "--epochs", "2")


@pytest.fixture(scope="module")
def model(cli: Cli, provisioned: Provisioning, synthetic: Path) -> str:
    """Return the id of a training on the phantoms."""
    cli("data", "push", str(synthetic), "--name", "phantoms", "-i", LAB)
    options = ("--data", "phantoms", "--name", "for-predict", *FAST, "--json")
    done = cli("submit", "-i", LAB, *options, timeout=400)
    return str(done.json()["job"]["id"])


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory, synthetic: Path) -> Path:
    """Return 24 phantoms in one folder, and two files that cannot be judged."""
    folder = tmp_path_factory.mktemp("new") / "Jane Doe"
    folder.mkdir()
    images = sorted(path for path in synthetic.rglob("*") if path.suffix in (".dcm", ".png"))
    for path in images[:24]:
        shutil.copy(path, folder / path.name)
    (folder / "cut.png").write_bytes(images[-1].read_bytes()[:300])
    (folder / "noise.jpg").write_bytes(b"\xff\xd8\xff" + b"no picture" * 50)
    return folder


@pytest.fixture(scope="module")
def pushed(cli: Cli, provisioned: Provisioning, unlabelled: Path) -> None:
    done = cli("data", "push", str(unlabelled), "--name", "new", "--unlabelled", "-i", LAB)
    assert "no labels" in done.stdout


@pytest.fixture(scope="module")
def judged(cli: Cli, model: str, pushed: None) -> Finished:
    options = ("--data", "new", "--model", model, "--file-names", "--json")
    return cli("predict", "-i", LAB, *options, timeout=300)


def rows_of(cli: Cli, document: dict[str, Any], name: str = "predictions.csv") -> list[Any]:
    with (cli.cwd / document["results"] / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_image_has_a_prediction_or_a_reason(cli: Cli, judged: Finished) -> None:
    document = judged.json()
    folder = cli.cwd / document["results"]
    assert {path.name for path in folder.iterdir()} == {*FILES, "predictions_by_file.csv"}
    rows = rows_of(cli, document)
    assert len(rows) == 26
    reasons = [row["reason"] for row in rows if row["reason"]]
    assert len(reasons) == 2
    scores = [float(row["score"]) for row in rows if row["score"]]
    assert len(scores) == 24
    assert all(0.0 < score < 1.0 for score in scores)
    assert document["metrics"]["labelled"] is None
    assert document["metrics"]["meaningful"] is False
    assert sum(document["timings"]["tasks_per_node"].values()) >= 2


def test_names_are_on_this_machine_only(
    cli: Cli, judged: Finished, unlabelled: Path, node: Any
) -> None:
    document = judged.json()
    job = document["job"]["id"]
    named = cli.cwd / document["results"] / "predictions_by_file.csv"
    assert stat.S_IMODE(named.stat().st_mode) == 0o600
    rows = rows_of(cli, document, named.name)
    assert {row["file"] for row in rows} == {path.name for path in unlabelled.iterdir()}
    assert {row["file"] for row in rows if row["reason"]} == {"cut.png", "noise.jpg"}
    uri = json.loads(node(MASTER, "cat /etc/mammoctl/cluster.json"))["paths"]["results"]
    listed = node(MASTER, f"{HDFS} -ls -C {uri}/{job}")
    assert "predictions.csv" in listed
    assert "by_file" not in listed
    found = f"{HDFS} -cat {uri}/{job}/* | grep -c -a -e cut.png -e Jane || true"
    assert node(MASTER, found) == "0"


def test_again_comes_from_the_cache_and_labels_are_judged(
    cli: Cli, judged: Finished, model: str
) -> None:
    again = cli("predict", "-i", LAB, "--data", "new", "--model", model, "--json", timeout=200)
    document = again.json()
    assert document["timings"]["features"]["computed"] == 0
    assert rows_of(cli, document) == rows_of(cli, judged.json())
    # of the labelled set, the pictures among those 24 are known
    done = cli("predict", "-i", LAB, "--data", "phantoms", "--model", model, timeout=300)
    assert "the model was trained on 60 of these 60 images" in done.text
    assert "labelled: AUC" in done.stdout
    assert "from the cache" in done.stdout


def test_model_from_here_gives_the_same(cli: Cli, judged: Finished, model: str) -> None:
    path = f"results/{model}/model.keras"
    done = cli("predict", "-i", LAB, "--data", "new", "--model", path, "--json", timeout=200)
    assert rows_of(cli, done.json()) == rows_of(cli, judged.json())
    assert "model.keras" in cli("jobs", "show", "latest", "-i", LAB).text


def test_killed_worker_costs_no_prediction(
    cli: Cli, model: str, synthetic: Path, node: Any
) -> None:
    # a batch size of its own changes nothing of the scores, so the cache has to go
    features = json.loads(node(MASTER, "cat /etc/mammoctl/cluster.json"))["paths"]["features"]
    node(MASTER, f"{HDFS} -rm -r -f -skipTrash {features}/predictions")
    job = cli("predict", "-i", LAB, "--data", "phantoms", "--model", model, "--detach").stdout
    job = job.strip()

    def begun() -> bool:
        """the workers are judging"""
        progress = node(MASTER, f"cat /var/lib/mammoctl/jobs/{job}/progress.jsonl")
        return '"stage": "predict"' in progress

    wait_until(begun, seconds=90, every=0.5)
    cli("lab", "stop", NODES[2], "--name", LAB, "--kill")
    try:
        done = cli("jobs", "attach", job, "-i", LAB, "--json", timeout=400)
    finally:
        cli("lab", "start", NODES[2], "--name", LAB)
    assert done.json()["metrics"]["data"]["images"] == 60


def test_dicom_tree_on_the_storage(
    cli: Cli, model: str, unlabelled: Path, provisioned: Provisioning, node: Any
) -> None:
    storage = json.loads(node(MASTER, "cat /etc/mammoctl/cluster.json"))["storage"]["uri"]
    uri = f"{storage}/incoming"
    node(MASTER, f"{HDFS} -rm -r -f -skipTrash {uri} && {HDFS} -mkdir -p {uri}/a")
    node(MASTER, f"echo no image | {HDFS} -put - {uri}/a/notes.txt")
    done = cli("predict", "-i", LAB, "--folder", uri, "--model", model, rc=2, timeout=200)
    assert "no usable image" in done.stderr
    image = next(path for path in sorted(unlabelled.iterdir()) if path.suffix == ".dcm")
    put_bytes(node, image, f"{uri}/a/{image.name}")
    done = cli("predict", "-i", LAB, "--folder", uri, "--model", model, "--json", timeout=200)
    rows = rows_of(cli, done.json())
    assert len(rows) == 2
    assert [row["image_id"] for row in rows if row["score"]] == [
        row["sha256"][:32] for row in rows if row["score"]
    ]


def test_drop_folder_counts_every_file_once(
    cli: Cli, model: str, unlabelled: Path, provisioned: Provisioning, node: Any
) -> None:
    storage = json.loads(node(MASTER, "cat /etc/mammoctl/cluster.json"))["storage"]["uri"]
    uri = f"{storage}/dropped"
    node(MASTER, f"{HDFS} -rm -r -f -skipTrash {uri} && {HDFS} -mkdir -p {uri}")
    images = [path for path in sorted(unlabelled.iterdir()) if path.suffix == ".dcm"][:4]
    put_bytes(node, images[0], f"{uri}/0.dcm")
    put_bytes(node, images[1], f"{uri}/1.dcm")
    watch = ("predict", "-i", LAB, "--folder", uri, "--model", model, "--file-names", "--watch")
    job = cli(*watch, "--detach").stdout.strip()

    def judged(count: int) -> Any:
        def look() -> bool:
            """the stream says how many files it has judged"""
            progress = node(MASTER, f"cat /var/lib/mammoctl/jobs/{job}/progress.jsonl")
            return f"{count} since the start" in progress

        return look

    wait_until(judged(2), seconds=120)
    put_bytes(node, images[2], f"{uri}/2.dcm")
    wait_until(judged(3), seconds=60)
    assert "is killed" in cli("jobs", "kill", job, "-i", LAB).stderr
    put_bytes(node, images[3], f"{uri}/3.dcm")
    done = cli(*watch, "--once", "--json", timeout=200)
    rows = rows_of(cli, done.json())
    assert sorted(row["file"] for row in rows) == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]
    assert all(row["score"] for row in rows)
    assert done.json()["timings"]["judged"] == 1


def put_bytes(node: Any, path: Path, uri: str) -> None:
    """Write a small file to HDFS, as another system would, in pieces that fit a command line."""
    import base64

    text = base64.b64encode(path.read_bytes()).decode()
    spool = "/root/image-on-its-way"
    node(MASTER, f"rm -f {spool}")
    for start in range(0, len(text), 60_000):
        node(MASTER, f"printf %s {text[start : start + 60_000]} >> {spool}")
    node(MASTER, f"base64 -d {spool} | {HDFS} -put -f - {uri} && rm {spool}")


def test_explore_describes_the_set(cli: Cli, model: str, synthetic: Path) -> None:
    done = cli("explore", "-i", LAB, "--data", "phantoms", *FAST[:4], "--json", timeout=300)
    document = done.json()
    folder = cli.cwd / document["results"]
    names = {path.name for path in folder.iterdir()}
    assert {"explore.html", "data.png", "metrics.json", "timings.json", "job.log"} <= names
    # the training of the same network has left the features in the cache
    assert document["timings"]["features"]["computed"] == 0
    tables = document["metrics"]["tables"]
    assert tables["all"][0]["images"] == 60
    assert tables["all"][0]["patients"] == 20
    assert {line["format"]: line["images"] for line in tables["format"]} == {"dicom": 30, "png": 30}
    page = (folder / "explore.html").read_text()
    assert "phantom0" not in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "nwe"), ("nwe", "did you mean --data new")),
        (("--data", "new", "--model", "/no/such.keras"), ("/no/such.keras", "hint:")),
        (("--data", "new", "--model", "train-20200101-000000-0000"), ("left no model", "hint:")),
        (("--data", "new", "--folder", "/x"), ("both --data and --folder", "hint:")),
        (("--data", "new", "--workers", "4"), ("3 workers", "hint:")),
    ],
)
def test_wrong_use_is_told_before_anything_runs(
    cli: Cli, pushed: None, model: str, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = cli("predict", "-i", LAB, *arguments, rc=2)
    for word in words:
        assert word in done.stderr


def test_a_set_without_labels_cannot_be_trained_on(cli: Cli, pushed: None) -> None:
    done = cli("submit", "-i", LAB, "--data", "new", *FAST, rc=2, timeout=200)
    assert "no label" in done.stderr
