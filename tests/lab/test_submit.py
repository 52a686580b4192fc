"""Data sets and jobs on the lab: pushed, trained on, interrupted, killed, lost."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from .command import Cli, Finished
from .conftest import LAB, NODES, Provisioning, wait_until

pytestmark = pytest.mark.lab

MASTER = NODES[0]
FILES = {
    *("model.keras", "metrics.json", "history.json", "accuracy.png", "loss.png"),
    *("rejects.csv", "timings.json", "job.log"),
    *("report.html", "model_card.json", "model_card.md"),
}
HDFS = "/opt/mammoctl/bin/hdfs dfs"
# a small backbone with random weights: what is tried here is the way, not the result
FAST = ("--backbone", "mobilenet_v2_035", "--weights", "none", "--epochs", "2")


@pytest.fixture(scope="module")
def spoilt(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the synthetic set with three broken images and files that are no images."""
    folder = tmp_path_factory.mktemp("spoilt") / "with spaces ł"
    shutil.copytree(synthetic, folder)
    dicom = next((folder / "benign").glob("*.dcm")).read_bytes()
    (folder / "benign" / "cut.dcm").write_bytes(dicom[: len(dicom) // 2])
    (folder / "malignant" / "empty.png").write_bytes(b"")
    (folder / "benign" / "noise.jpg").write_bytes(b"\xff\xd8\xff" + b"no picture" * 50)
    (folder / "Thumbs.db").write_bytes(b"x")
    with (folder / "manifest.csv").open("a") as stream:
        for name in ("benign/cut.dcm", "malignant/empty.png", "benign/noise.jpg"):
            stream.write(f"{name},{name.split('/')[0]},broken,,,,\n")
    return folder


@pytest.fixture(scope="module")
def pushed(cli: Cli, provisioned: Provisioning, spoilt: Path) -> dict[str, Any]:
    done = cli("data", "push", str(spoilt), "--name", "spoilt", "-i", LAB, "--json")
    document: dict[str, Any] = done.json()
    return document


@pytest.fixture(scope="module")
def trained(cli: Cli, pushed: dict[str, Any]) -> Finished:
    return cli("submit", "-i", LAB, "--data", "spoilt", *FAST, "--json", timeout=400)


def test_push_packs_into_few_files_and_tells_no_names(
    cli: Cli, pushed: dict[str, Any], node: Any
) -> None:
    assert pushed["changed"]
    about = pushed["data"]
    assert (about["images"], about["patients"]) == (63, 21)
    assert about["formats"] == {"dicom": 31, "jpeg": 1, "png": 30, "unknown": 1}
    uri = pushed["uri"]
    listed = node(MASTER, f"{HDFS} -ls -C {uri}").split()
    assert sorted(listed) == [f"{uri}/dataset.json", f"{uri}/part-00000.parquet"]
    # nor do the DICOM headers: they were de-identified before they left
    assert node(MASTER, f"{HDFS} -cat {uri}/* | grep -c -a -i phantom || true") == "0"
    description = node(MASTER, f"{HDFS} -cat {uri}/dataset.json")
    assert "phantom" not in description
    assert "cut" not in description
    assert node(MASTER, f"{HDFS} -stat %r {uri}/part-00000.parquet") == "3"


def test_map_of_ids_is_on_the_master_for_root_only(
    cli: Cli, pushed: dict[str, Any], node: Any
) -> None:
    path = "/var/lib/mammoctl/datasets/spoilt/ids.csv"
    assert node(MASTER, f"stat -c '%a %U' {path}") == "600 root"
    rows = list(csv.DictReader(node(MASTER, f"cat {path}").splitlines()))
    assert len(rows) == 63
    assert "benign/cut.dcm" in {row["file"] for row in rows}


def test_push_again_is_up_to_date_and_fast(cli: Cli, pushed: dict[str, Any], spoilt: Path) -> None:
    done = cli("data", "push", str(spoilt), "--name", "spoilt", "-i", LAB)
    assert "up to date" in done.stdout
    assert done.seconds < 20


def test_other_content_needs_replace(cli: Cli, pushed: dict[str, Any], synthetic: Path) -> None:
    done = cli("data", "push", str(synthetic), "--name", "spoilt", "-i", LAB, rc=2)
    assert "--replace" in done.stderr
    names = {item["name"] for item in cli("data", "list", "-i", LAB, "--json").json()["data"]}
    assert "spoilt" in names


def test_interrupted_push_leaves_nothing_that_counts(
    cli: Cli, provisioned: Provisioning, tmp_path: Path, node: Any
) -> None:
    for number in range(200):  # 400 MB: seconds of work, in which both interruptions fall
        image = tmp_path / ("benign", "malignant")[number % 2] / f"p{number}.pgm"
        image.parent.mkdir(exist_ok=True)
        image.write_bytes(b"P5 1000 2000 255\n" + os.urandom(2_000_000))
    push = ("data", "push", str(tmp_path), "--name", "cut", "-i", LAB)
    for after in (1.5, 3.5):
        cli(*push, interrupt_after=after, rc=130)
        listed = cli("data", "list", "-i", LAB, "--json").json()["data"]
        assert "cut" not in {item["name"] for item in listed}
    cli(*push)
    root = json.loads(node(MASTER, "cat /etc/mammoctl/cluster.json"))["paths"]["data"]
    assert ".tmp-cut" not in node(MASTER, f"{HDFS} -ls -C {root}")
    node(MASTER, f"{HDFS} -rm -r -skipTrash {root}/cut")


def test_training_leaves_its_files_and_used_every_node(trained: Finished, cli: Cli) -> None:
    document = trained.json()
    assert document["exit_code"] == 0
    folder = cli.cwd / document["results"]
    assert {path.name for path in folder.iterdir()} == FILES
    assert all((folder / name).stat().st_size for name in FILES)
    assert (folder.parent / "latest").resolve() == folder.resolve()
    tasks = document["timings"]["tasks_per_node"]
    assert set(tasks) == set(NODES)
    assert all(count > 0 for count in tasks.values())
    assert document["metrics"]["meaningful"] is False
    assert len(json.loads((folder / "history.json").read_text())["loss"]) == 2


def test_broken_images_are_listed_with_a_reason(trained: Finished, cli: Cli, node: Any) -> None:
    folder = cli.cwd / trained.json()["results"]
    rejects = list(csv.DictReader((folder / "rejects.csv").open()))
    ids = csv.DictReader(node(MASTER, "cat /var/lib/mammoctl/datasets/spoilt/ids.csv").splitlines())
    files = {row["image_id"]: row["file"] for row in ids}
    assert {files[row["image_id"]] for row in rejects} == {
        "benign/cut.dcm",
        "malignant/empty.png",
        "benign/noise.jpg",
    }
    assert all(row["reason"] for row in rejects)
    assert "phantom0" not in (folder / "job.log").read_text()


def test_second_training_starts_from_the_cache(cli: Cli, trained: Finished) -> None:
    done = cli("submit", "-i", LAB, "--data", "spoilt", *FAST, "--epochs", "3", timeout=300)
    assert "the predictions mean nothing" in done.text
    assert "from the cache" in done.stdout
    assert "AUC" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "spoild"), ("spoild", "did you mean --data spoilt")),
        (("--data", "spoilt", "--weights", "/no/such.h5"), ("/no/such.h5", "hint:")),
        (("--data", "spoilt", "--name", "Not A Name"), ("cannot be called", "hint:")),
    ],
)
def test_wrong_use_is_told_before_anything_runs(
    cli: Cli, pushed: dict[str, Any], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = cli("submit", "-i", LAB, *arguments, rc=None)
    assert done.rc in (2, 125)
    for word in words:
        assert word in done.stderr


def test_wrong_checksum_of_weights(cli: Cli, pushed: dict[str, Any], tmp_path: Path) -> None:
    weights = tmp_path / "some.weights.h5"
    weights.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    options = ("--weights", str(weights), "--weights-sha256", "0" * 64)
    done = cli("submit", "-i", LAB, "--data", "spoilt", *options, rc=None)
    assert done.rc in (2, 125)
    assert "sha256" in done.stderr.lower()
    assert "hint:" in done.stderr


def test_file_that_is_no_weights_fails_the_job_with_its_own_code(
    cli: Cli, pushed: dict[str, Any], tmp_path: Path
) -> None:
    weights = tmp_path / "some.weights.h5"
    weights.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    options = ("--backbone", "mobilenet_v2_035", "--weights", str(weights))
    done = cli("submit", "-i", LAB, "--data", "spoilt", *options, rc=1, timeout=200)
    assert "weights" in done.stderr
    assert "is failed" in done.stderr


def start_job(cli: Cli, *more: str) -> str:
    # a seed of its own means random features of its own: nothing is in the cache
    seed = str(time.time_ns() % 10**6)
    options = ("--data", "spoilt", "--weights", "none", "--seed", seed, "--detach", *more)
    return cli("submit", "-i", LAB, *options).stdout.strip()


def state(cli: Cli, job: str) -> str:
    return str(cli("jobs", "show", job, "-i", LAB, "--json").json()["state"]["state"])


def in_features(cli: Cli, node: Any, job: str) -> None:
    def begun() -> bool:
        progress = node(MASTER, f"cat /var/lib/mammoctl/jobs/{job}/progress.jsonl")
        return '"stage": "features"' in progress

    wait_until(begun, seconds=90, every=0.5)


def test_interrupted_watching_leaves_the_job_alone(
    cli: Cli, pushed: dict[str, Any], node: Any
) -> None:
    job = start_job(cli)
    process = cli.start("jobs", "attach", job, "-i", LAB)
    in_features(cli, node, job)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"mammoctl jobs attach {job}" in stderr
    assert f"mammoctl jobs kill {job}" in stderr
    assert state(cli, job) == "running"
    done = cli("jobs", "attach", job, "-i", LAB, "--json", timeout=300)
    assert done.json()["job"]["state"] == "succeeded"


@pytest.mark.slow
def test_killed_worker_costs_time_and_nothing_else(
    cli: Cli, pushed: dict[str, Any], node: Any
) -> None:
    job = start_job(cli)
    in_features(cli, node, job)
    cli("lab", "stop", NODES[2], "--name", LAB, "--kill")
    try:
        done = cli("jobs", "attach", job, "-i", LAB, "--json", timeout=400)
    finally:
        cli("lab", "start", NODES[2], "--name", LAB)
    document = done.json()
    assert document["job"]["state"] == "succeeded"
    assert document["metrics"]["data"]["images"] == 60


def test_kill(cli: Cli, pushed: dict[str, Any], node: Any) -> None:
    job = start_job(cli)
    in_features(cli, node, job)
    done = cli("jobs", "kill", job, "-i", LAB)
    assert "is killed" in done.stderr
    assert "is killed" in cli("jobs", "kill", "latest", "-i", LAB).stderr
    attached = cli("jobs", "attach", job, "-i", LAB, rc=None)
    assert attached.rc in (137, 143)
    unit = f"mammoctl-job-{job}.service"
    assert node(MASTER, f"systemctl is-active {unit}", rc=None) == "inactive"
    assert node(MASTER, "pgrep -u spark -f spark-submi[t]", rc=None) == ""


@pytest.mark.slow
def test_job_of_a_restarted_master_is_lost(cli: Cli, pushed: dict[str, Any], node: Any) -> None:
    job = start_job(cli)
    in_features(cli, node, job)
    cli("lab", "stop", MASTER, "--name", LAB, "--kill")
    cli("lab", "start", MASTER, "--name", LAB)
    done = cli("jobs", "attach", job, "-i", LAB, rc=125, timeout=120)
    assert "is lost" in done.stderr
    listed = cli("jobs", "list", "-i", LAB, "--json").json()["jobs"]
    assert {item["spec"]["id"]: item["state"]["state"] for item in listed}[job] == "lost"

    def healthy() -> bool:
        """verify passes again: the services of a machine that has just booted need their time."""
        return cli("verify", "-i", LAB, rc=None, timeout=300).rc == 0

    wait_until(healthy, seconds=240, every=10)


def test_unknown_job_and_no_secret_in_the_process_list(
    cli: Cli, pushed: dict[str, Any], node: Any, inventory: Path
) -> None:
    done = cli("jobs", "show", "train-20200101-000000-0000", "-i", LAB, rc=2)
    assert "no job" in done.stderr
    job = start_job(cli)
    in_features(cli, node, job)
    arguments = node(MASTER, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
    secrets = [path.read_text().strip() for path in (inventory / "secrets").iterdir()]
    assert secrets
    assert not [secret for secret in secrets if secret and secret.split()[0] in arguments]
    cli("jobs", "kill", job, "-i", LAB)


def train_on(cli: Cli, folder: Path, name: str, weights: Path) -> dict[str, Any]:
    """Push real mammograms, train on them as a user would and return the document."""
    cli("data", "push", str(folder), "--name", name, "-i", LAB)
    done = cli("submit", "-i", LAB, "--data", name, "--weights", str(weights), "--json")
    document = done.json()
    assert document["metrics"]["meaningful"] is True
    assert document["metrics"]["split"]["by"] == "patient"
    assert set(document["timings"]["tasks_per_node"]) == set(NODES)
    return document | {"seconds": done.seconds}


def test_some_real_mammograms(
    cli: Cli, provisioned: Provisioning, mammograms: Path, vgg16_weights: Path, tmp_path: Path
) -> None:
    with (mammograms / "manifest.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    patients = [*dict.fromkeys(row["patient_id"] for row in rows)][::8]
    chosen = [row for row in rows if row["patient_id"] in patients]
    for row in chosen:
        (tmp_path / row["file"]).parent.mkdir(exist_ok=True)
        shutil.copy(mammograms / row["file"], tmp_path / row["file"])
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    document = train_on(cli, tmp_path, "some", vgg16_weights)
    assert document["metrics"]["data"]["images"] == len(chosen)


@pytest.mark.slow
def test_real_mammograms(
    cli: Cli, provisioned: Provisioning, mammograms: Path, vgg16_weights: Path
) -> None:
    document = train_on(cli, mammograms, "rsna", vgg16_weights)
    assert document["metrics"]["data"]["images"] == 844
    assert 0.5 < document["metrics"]["validation"]["auc"] < 0.9
    assert document["seconds"] < 360, f"{document['seconds']:.0f} s"


def test_one_class_only_and_labels_without_files(
    cli: Cli, provisioned: Provisioning, synthetic: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    shutil.copytree(synthetic / "benign", one / "benign")
    done = cli("data", "push", str(one), "--name", "one", "-i", LAB, rc=2)
    assert "one class only" in done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no images" in cli("data", "push", str(empty), "--name", "x", "-i", LAB, rc=2).stderr
    (empty / "manifest.csv").write_text("file,label\ngone.png,benign\n")
    done = cli("data", "push", str(empty), "--name", "x", "-i", LAB, rc=2)
    assert "labels without a file" in done.stderr
