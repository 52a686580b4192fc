from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl import paths
from mammoctl.errors import Interrupted, JobError
from mammoctl.jobs import results, watch
from mammoctl.jobs.results import FILES, fetch, metric_rows, node_rows, timing_rows

JOB = "train-20261121-104512-ab12"
METRICS = {
    "meaningful": True,
    "validation": {
        "auc": 0.6125,
        "auc_interval_95": [0.51, 0.7],
        "accuracy": 0.7,
        "majority_class_accuracy": 0.65,
    },
    "train": {"auc": None, "accuracy": None},
    "data": {"images": 60, "patients": 20, "rejected": 1},
}
TIMINGS = {
    "stages": {"read": 1.25, "features": 30.0},
    "total_seconds": 40.0,
    "executors": {"lab1": 1, "lab2": 1, "lab3": 1},
    "features": {
        "cached": 5,
        "nodes": {"lab1": {"tasks": 2, "images": 20}, "lab2": {"tasks": 3, "images": 40}},
    },
}


class Nodes:
    """A master whose job folder is a folder here."""

    def __init__(self, folder: Path) -> None:
        self.cluster = SimpleNamespace(vars={}, master=SimpleNamespace(name="lab1"))
        self.folder = folder
        self.damage = ""

    def run(self, host: str, argv: list[str], *, sudo: str) -> Any:
        assert argv[1:3] == [f"/var/lib/mammoctl/jobs/{JOB}/agent.pyz", "files"]
        listed = []
        for path in [*sorted((self.folder / "results").iterdir()), self.folder / "job.log"]:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            name = path.relative_to(self.folder).as_posix()
            listed.append({"path": name, "size": path.stat().st_size, "sha256": sha256})
        return SimpleNamespace(stdout=json.dumps(listed))

    def get_tree(self, host: str, source: str, target: Path, *, sudo: str) -> None:
        assert source == f"/var/lib/mammoctl/jobs/{JOB}/results"
        shutil.copytree(self.folder / "results", target)
        (target / "_temporary").mkdir()
        if self.damage:
            (target / self.damage).write_bytes(b"damaged")

    def get(self, host: str, source: str, target: Path, *, sudo: str) -> None:
        shutil.copy(self.folder / "job.log", target)


@pytest.fixture
def nodes(tmp_path: Path) -> Nodes:
    folder = tmp_path / "remote"
    (folder / "results").mkdir(parents=True)
    for name in FILES["train"][:-1]:
        (folder / "results" / name).write_text(name)
    (folder / "results" / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "results" / "timings.json").write_text(json.dumps(TIMINGS))
    (folder / "job.log").write_text("log")
    return Nodes(folder)


def test_results_arrive_whole_and_checked(nodes: Nodes, tmp_path: Path) -> None:
    into = tmp_path / "results"
    for _ in range(2):
        found = fetch(nodes, JOB, into)  # type: ignore[arg-type]
        assert sorted(path.name for path in found.folder.iterdir()) == sorted(FILES["train"])
        assert found.missing == []
        assert found.metrics == METRICS
        assert (into / "latest").resolve() == found.folder
        assert sorted(path.name for path in into.iterdir()) == ["latest", JOB]


def test_damaged_files_are_refused_and_older_ones_stay(nodes: Nodes, tmp_path: Path) -> None:
    into = tmp_path / "results"
    fetch(nodes, JOB, into)  # type: ignore[arg-type]
    nodes.damage = "model.keras"
    with pytest.raises(JobError, match=r"damaged on their way: model\.keras"):
        fetch(nodes, JOB, into)  # type: ignore[arg-type]
    assert (into / JOB / "model.keras").read_text() == "model.keras"
    assert sorted(path.name for path in into.iterdir()) == ["latest", JOB]


def test_a_file_called_latest_stays(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("mine")
    fetch(nodes, JOB, tmp_path)  # type: ignore[arg-type]
    assert (tmp_path / "latest").read_text() == "mine"


def test_unwritable_folder_is_a_clear_error(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="cannot write the results") as caught:
        fetch(nodes, JOB, tmp_path / "file" / "results")  # type: ignore[arg-type]
    assert caught.value.exit_code == 125
    assert caught.value.hint


def test_a_prediction_leaves_other_files(nodes: Nodes, tmp_path: Path) -> None:
    found = fetch(nodes, JOB, tmp_path / "results", "predict")  # type: ignore[arg-type]
    assert found.missing == ["predictions.csv", "predictions.parquet"]
    metrics = {"called": {"malignant": 3, "benign": 7}, "data": {"images": 10, "rejected": 1}}
    assert metric_rows(metrics) == [
        ("called benign", "7 images"),
        ("called malignant", "3 images"),
        ("images", "10, 1 rejected"),
    ]


def test_clusters_are_told_with_what_goes_with_them() -> None:
    goes_with = {"machine": {"cramers_v": 0.9123}, "view": {"cramers_v": None}}
    metrics = {"clusters": {"k": 2, "sizes": [14, 11], "goes_with": goes_with}}
    assert metric_rows(metrics) == [
        ("clusters", "2 (14, 11 images)"),
        ("clusters and machine", "Cramer's V 0.91"),
    ]


def test_rows_for_people() -> None:
    assert metric_rows(METRICS) == [
        ("validation: AUC", "0.613  (95 %: 0.510 to 0.700)"),
        ("validation: accuracy", "0.700  (majority class: 0.650)"),
        ("train: AUC", "not defined (one class only)"),
        ("images", "60 of 20 patients, 1 rejected"),
    ]
    assert timing_rows(TIMINGS) == [("read", "1.2 s"), ("features", "30.0 s"), ("total", "40.0 s")]
    assert node_rows(TIMINGS) == [
        ("lab1", "2 tasks, 20 images"),
        ("lab2", "3 tasks, 40 images"),
        ("lab3", "no image left to compute, 1 executor(s) there"),
        ("from the cache", "5 images"),
    ]
    assert (metric_rows({}), timing_rows({}), node_rows({})) == ([], [], [])


def ending(state: dict[str, Any]) -> Any:
    return lambda *_args, **_options: iter([{"end": state}])


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"state": "succeeded", "exit_code": 0}, 0),
        ({"state": "failed", "exit_code": 2}, 2),
        ({"state": "failed", "exit_code": 0}, 1),
        ({"state": "killed", "exit_code": 143}, 143),
        ({"state": "lost"}, 125),
    ],
)
def test_exit_codes(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], code: int
) -> None:
    monkeypatch.setattr(watch, "events", ending(state))
    outcome = watch.watch(nodes, JOB, tmp_path)  # type: ignore[arg-type]
    assert outcome.exit_code == code
    assert outcome.document()["exit_code"] == code
    assert outcome.document()["files"]["job.log"]["bytes"] == 3


def test_a_success_without_its_files_is_none(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nodes.folder / "results" / "loss.png").unlink()
    monkeypatch.setattr(watch, "events", ending({"state": "succeeded", "exit_code": 0}))
    with pytest.raises(JobError, match=r"left no loss\.png"):
        watch.watch(nodes, JOB, tmp_path)  # type: ignore[arg-type]


def test_ctrl_c_says_how_to_go_on(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: Any, **_options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "events", interrupted)
    with pytest.raises(Interrupted, match="goes on in the background") as caught:
        watch.watch(nodes, JOB, tmp_path)  # type: ignore[arg-type]
    assert caught.value.exit_code == 130
    assert f"mammoctl jobs attach {JOB}" in caught.value.hint


@pytest.mark.parametrize(
    ("answers", "asked", "killed", "ends"),
    [
        (["c", "c"], 2, 0, True),
        (["k"], 1, 1, True),
        (["c", "d"], 2, 0, False),
        ([KeyboardInterrupt()], 1, 0, False),
    ],
)
def test_ctrl_c_asks_what_it_meant(
    nodes: Nodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[Any],
    *,
    asked: int,
    killed: int,
    ends: bool,
) -> None:
    questions: list[str] = []
    kills: list[str] = []
    left, seen = list(answers), []

    def choose(question: str, choices: dict[str, str], *, default: str) -> str:
        questions.append(question)
        assert (sorted(choices), default) == (["c", "d", "k"], "d")
        answer = left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    def follow(*_args: Any, position: watch.Position, **_options: Any) -> Any:
        seen.append(position.progress)
        position.progress += 10
        if left:
            raise KeyboardInterrupt
        yield {"end": {"state": "killed" if kills else "succeeded", "exit_code": 0}}

    monkeypatch.setattr(watch.console, "choose", choose)
    monkeypatch.setattr(watch, "kill", lambda _nodes, job: kills.append(job))
    monkeypatch.setattr(watch, "events", follow)
    if ends:
        outcome = watch.watch(nodes, JOB, tmp_path)  # type: ignore[arg-type]
        assert outcome.state["state"] == ("killed" if killed else "succeeded")
    else:
        with pytest.raises(Interrupted, match="goes on in the background"):
            watch.watch(nodes, JOB, tmp_path)  # type: ignore[arg-type]
    assert (len(questions), len(kills)) == (asked, killed)
    # nothing that was shown is shown again
    assert seen == [10 * n for n in range(len(seen))]


def test_a_program_may_leave_what_it_likes(nodes: Nodes, tmp_path: Path) -> None:
    shutil.rmtree(nodes.folder / "results")
    (nodes.folder / "results").mkdir()
    (nodes.folder / "results" / "counts.csv").write_text("a,1")
    found = fetch(nodes, JOB, tmp_path, "script")  # type: ignore[arg-type]
    assert found.missing == []
    assert sorted(found.files) == ["counts.csv", "job.log"]
    assert found.document()["files"]["counts.csv"]["bytes"] == 3


def test_ctrl_c_while_fetching_never_says_that_nothing_was_started(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: Any, **_options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "events", ending({"state": "succeeded", "exit_code": 0}))
    monkeypatch.setattr(nodes, "get_tree", interrupted)
    with pytest.raises(
        Interrupted, match=f"results of the job {JOB}, which is succeeded"
    ) as caught:
        watch.watch(nodes, JOB, tmp_path, option="-i ward")  # type: ignore[arg-type]
    assert f"mammoctl jobs results {JOB} -i ward" in caught.value.hint


def test_every_promised_file_is_documented() -> None:
    pages = {"train": "submit.md", "predict": "predict.md", "explore": "explore.md"}
    assert set(results.FILES) == set(pages)
    for kind, page in pages.items():
        text = (paths.project_root() / "docs" / page).read_text()
        assert [name for name in results.FILES[kind] if f"`{name}`" not in text] == []
