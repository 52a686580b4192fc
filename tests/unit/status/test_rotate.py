"""`mammoctl secrets rotate`: refused in time, told what is done, nothing lost by a failure."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from status_support import SPARK, WORKER, FakeNodes, answer
from typer.testing import CliRunner

from mammoctl import rotation
from mammoctl.cli import app
from mammoctl.cluster import NotProvisioned
from mammoctl.errors import ConnectionFailed, PlaybookFailed, UsageError

OLD = "o" * 48 + "\n"


@pytest.fixture
def command(monkeypatch, tmp_path):
    """The command, with the cluster's answers and Ansible replaced."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / rotation.SPARK).write_text(OLD)
    (tmp_path / "secrets" / "data_hmac").write_text("k")
    fake = FakeNodes(
        {"n1": answer(), "n2": answer(**WORKER)},
        pages={"json": {**SPARK, "activeapps": []}, "jmx": {"beans": []}},
        jobs=[],
    )
    fake.cluster = replace(fake.cluster, path=tmp_path)
    fake.ran, fake.failure = [], None

    def run_playbook(verb, cluster, *, title):
        fake.ran.append((verb, (tmp_path / "secrets" / rotation.SPARK).read_text()))
        assert (tmp_path / "secrets" / f"{rotation.SPARK}.before").exists()
        if fake.failure:
            raise fake.failure
        return SimpleNamespace(log="/log", as_json=lambda: {"schema": 1, "log": "/log"})

    monkeypatch.setattr(FakeNodes, "__enter__", lambda self: self, raising=False)
    monkeypatch.setattr(FakeNodes, "__exit__", lambda self, *_: None, raising=False)
    monkeypatch.setattr("mammoctl.inventory.load", lambda _selector: fake.cluster)
    monkeypatch.setattr("mammoctl.ssh.Nodes", lambda *_a, **_k: fake)
    monkeypatch.setattr("mammoctl.ansible.runner.run_playbook", run_playbook)
    monkeypatch.setattr("mammoctl.lock.held", lambda *_a, **_k: nullcontext())

    def call(*arguments):
        done = CliRunner().invoke(app, ["secrets", "rotate", *arguments])
        done.ran, done.fake = fake.ran, fake
        done.secret = (tmp_path / "secrets" / rotation.SPARK).read_text()
        return done

    call.fake, call.folder = fake, tmp_path
    return call


def test_a_rotation_as_json(command):
    done = command("--yes", "--json")
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert (value["schema"], value["cluster"]) == (1, "ward")
    assert (value["rotated"], value["kept"]) == ([rotation.SPARK], ["data_hmac"])
    assert value["resumed"] is False
    assert done.ran == [("rotate", done.secret)]
    assert done.secret != OLD
    assert rotation.begun(command.folder) == []
    assert done.secret.strip() not in done.output


def test_nothing_is_made_before_it_is_confirmed(command):
    done = command()
    assert isinstance(done.exception, UsageError)
    assert (done.ran, done.secret) == ([], OLD)


def test_work_that_runs_is_not_broken_off_unless_forced(command):
    command.fake.pages = {"json": SPARK, "jmx": {"beans": []}}
    done = command("--yes")
    assert isinstance(done.exception, rotation.Busy)
    assert (done.ran, done.secret) == ([], OLD)
    done = command("--yes", "--force")
    assert done.exit_code == 0
    assert "application train may fail" in done.stderr


@pytest.mark.parametrize(
    ("said", "error"),
    [(ConnectionFailed("n2 is down"), ConnectionFailed), (answer(None), NotProvisioned)],
)
def test_a_node_that_cannot_get_it_is_a_reason_not_to_begin(command, said, error):
    command.fake.answers["n2"] = said
    done = command("--yes")
    assert isinstance(done.exception, error)
    assert "n2" in done.exception.message
    assert (done.ran, done.secret) == ([], OLD)


def test_after_a_failure_the_old_one_is_kept_and_the_same_command_goes_on(command):
    command.fake.failure = PlaybookFailed("rotate failed on n2", hint="mend it")
    done = command("--yes")
    assert isinstance(done.exception, PlaybookFailed)
    kept = command.folder / "secrets" / f"{rotation.SPARK}.before"
    assert f"the one before is kept: {kept}" in done.exception.details
    assert kept.read_text() == OLD
    made = done.secret
    command.fake.failure = None
    done = command("--yes", "--json")
    assert json.loads(done.stdout)["resumed"] is True
    assert done.secret == made
    assert not kept.exists()
