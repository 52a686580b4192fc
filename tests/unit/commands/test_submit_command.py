"""`mammoctl submit`: which kind of job the words mean, what is refused before anything is sent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from mammoctl import cluster, inventory, lock, ssh
from mammoctl.cli import app
from mammoctl.errors import ConnectionFailed, Interrupted, MammoctlError
from mammoctl.jobs import launch, notify, submit, watch
from mammoctl.jobs.script import ScriptJob
from mammoctl.jobs.spec import JobSpec

JOB = "train-20261121-104512-ab12"


class Nodes:
    def __init__(self, found: Any) -> None:
        self.cluster = found

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(rc=1, stdout="", stderr="")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Return the jobs that are started, with what is shipped and who is told by the master."""
    started: list[Any] = []
    ward = SimpleNamespace(
        name="ward", vars={}, source=tmp_path / "hosts.yml", master=SimpleNamespace(name="n1")
    )
    deployment = SimpleNamespace(
        executor=SimpleNamespace(cores=2, memory_mb=1024),
        workers={"n1": SimpleNamespace(cores=2, memory_mb=3072)},
    )

    def start(_nodes: Any, _deployment: Any, job: Any, shipment: Any, *, tell: Any) -> Any:
        started.append((job, shipment, tell))
        return job

    def prepare(_nodes: Any, _deployment: Any, request: submit.Request) -> JobSpec:
        started.append(request)
        return JobSpec(JOB, "d", request.backbone, None, request.epochs, 0, 8)

    def watched(_nodes: Any, job: str, _into: Path, **options: Any) -> watch.Outcome:
        started.append(options)
        return watch.Outcome(job, {"id": job, "state": "failed", "exit_code": 3}, None)

    monkeypatch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path / "state" / "log"))
    monkeypatch.setattr(inventory, "load", lambda _selector: ward)
    monkeypatch.setattr(cluster, "read", lambda _nodes: deployment)
    monkeypatch.setattr(ssh, "Nodes", Nodes)
    monkeypatch.setattr(submit, "prepare", prepare)
    monkeypatch.setattr(launch, "start", start)
    monkeypatch.setattr(watch, "watch", watched)
    monkeypatch.setattr(watch, "report", lambda *_: None)
    (tmp_path / "count.py").write_text("print(1)")
    monkeypatch.chdir(tmp_path)
    return started


def run(*args: str) -> Any:
    return CliRunner().invoke(app, ["submit", *args])


def refused(*args: str) -> MammoctlError:
    error = run(*args).exception
    assert isinstance(error, MammoctlError), error
    assert error.exit_code == 2
    return error


def test_without_a_program_it_is_the_training(started: list[Any]) -> None:
    assert run("--epochs", "3", "--", "--folds", "5").exit_code == 3
    request, (job, shipment, tell), options = started
    assert (request.name, request.epochs, request.options) == ("train", 3, {"folds": "5"})
    assert (job.id, shipment, tell) == (JOB, None, ())
    assert (options["kind"], options["position"].log) == ("train", None)


def test_who_changes_the_cluster_meanwhile_is_told(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "being changed" not in run("--epochs", "3").stderr
    who = lock.Holder("maria@ward", "upgrade", time.time())
    monkeypatch.setattr(lock, "holder", lambda _nodes: who)
    done = run("--epochs", "3")
    assert done.exit_code == 3
    assert "warning: ward is being changed by maria@ward (upgrade, since" in done.stderr


def test_a_program_gets_what_follows_the_dashes(started: list[Any]) -> None:
    done = run(
        "count.py", "--executor-memory", "2g", "-c", "spark.a=b", "--", "--epochs", "3", "-x"
    )
    assert done.exit_code == 3, done.output
    (job, shipment, _), options = started
    assert isinstance(job, ScriptJob)
    assert job.id.startswith("count-")
    assert job.arguments == ("--epochs", "3", "-x")
    assert job.conf == {"spark.a": "b", "spark.executor.memory": "2g"}
    assert list(shipment.files) == ["count.py"]
    assert options["position"].log == 0  # its log is what there is to see


def test_options_of_the_other_kind_are_refused(started: list[Any]) -> None:
    error = refused("count.py", "--epochs", "3", "--data", "d")
    assert error.message == "--data, --epochs: for the training, not for a program of your own"
    assert "submit count.py -- ..." in error.hint
    assert "--py-files, --class" in refused("--py-files", "m.py", "--class", "A").message
    assert started == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["submit", "counts.py"], "the program: there is no counts.py"),
        (["submit", "--properties-file", "/none"], "cannot read --properties-file /none"),
        (["submit", "count.py", "--properties-file", "/none"], "cannot read --properties-file"),
        (["submit", "count.py", "--files", "/none"], "--files: there is no /none"),
        (["submit", "--weights", "/none"], "--weights: there is no /none"),
        (["submit", "--name", "A"], "a job cannot be called 'A'"),
        (["submit", "--conf", "x"], "--conf x: no value"),
        (["explore", "--weights", "/none"], "--weights: there is no /none"),
        (["predict", "--model", "/none"], "there is no model /none"),
        (["predict", "--watch"], "--watch needs a folder"),
    ],
)
def test_what_is_wrong_here_is_told_although_the_cluster_is_down(
    started: list[Any], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    def down(_nodes: Any) -> Any:
        raise ConnectionFailed("n1 does not answer")

    monkeypatch.setattr(cluster, "read", down)
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, MammoctlError)
    assert error.exit_code == 2
    assert error.message.startswith(message)


def test_who_is_told(started: list[Any]) -> None:
    done = run("count.py", "--notify", "https://h/x?t=1", "--notify", "true", "--name", "mine")
    assert done.exit_code == 3
    (job, _, tell), _ = started
    assert job.id.startswith("mine-")
    assert tell == ("https://h/x?t=1",)
    assert notify.waiting(inventory.load(None)) == []  # it has ended, and been told
    assert "cannot send mail" in refused("count.py", "--notify", "ann@example.org").message


def test_detached_it_prints_the_id_and_leaves_a_process_for_commands(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    monkeypatch.setattr(notify, "leave_behind", lambda _cluster, job: left.append(job))
    done = run("count.py", "-d", "--json", "--notify", "true")
    assert done.exit_code == 0
    job = json.loads(done.stdout)["job"]["id"]
    assert job.startswith("count-")
    assert left == [job]
    assert notify.waiting(inventory.load(None)) == [job]
    assert run("count.py", "--detach").stdout.startswith("count-")


def test_who_detaches_is_still_told(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    def interrupted(*_: Any, **__: Any) -> Any:
        raise Interrupted("stopped watching")

    monkeypatch.setattr(watch, "watch", interrupted)
    monkeypatch.setattr(notify, "leave_behind", lambda _cluster, job: left.append(job))
    error = run("count.py", "--notify", "true").exception
    assert isinstance(error, Interrupted)
    assert len(left) == 1
