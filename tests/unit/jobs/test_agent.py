from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mammoctl.jobs import agent

AGENT = Path(agent.__file__)
RUNNING: dict[str, Any] = {"id": "j", "state": "running", "boot_id": "b", "submitted_at": 1.0}
SUBMITTED: dict[str, Any] = {**RUNNING, "state": "submitted", "boot_id": ""}


def ended(result: str, how: str, status: str, **more: Any) -> dict[str, Any]:
    env = {"SERVICE_RESULT": result, "EXIT_CODE": how, "EXIT_STATUS": status}
    options: dict[str, Any] = {"kill": None, "stopping": False, **more}
    return agent.finished(RUNNING, env, 9.0, **options)


@pytest.mark.parametrize(
    ("result", "how", "status", "state", "code", "words"),
    [
        ("success", "exited", "0", "succeeded", 0, ""),
        ("exit-code", "exited", "2", "failed", 2, "exit code 2"),
        ("exit-code", "exited", "143", "failed", 143, "exit code 143"),
        ("signal", "killed", "KILL", "failed", 137, "signal KILL"),
        # a unit that was stopped counts as a success for systemd, not for us
        ("success", "killed", "TERM", "failed", 143, "signal TERM"),
        ("core-dump", "dumped", "ABRT", "failed", 134, "signal ABRT"),
        ("oom-kill", "killed", "KILL", "failed", 137, "more memory"),
        ("timeout", "killed", "TERM", "failed", 143, "time limit"),
        ("oom-kill", "exited", "0", "failed", 0, "more memory"),
        ("exit-code", "", "", "failed", 1, "could not run"),
        ("resources", "", "", "failed", 1, "resources"),
    ],
)
def test_every_end_of_a_unit(
    result: str, how: str, status: str, *, state: str, code: int, words: str
) -> None:
    record = ended(result, how, status)
    assert (record["state"], record["exit_code"]) == (state, code)
    assert words in record["reason"]
    assert record["finished_at"] == 9.0
    assert record["id"] == "j"


def test_killed_on_request_names_who() -> None:
    record = ended("success", "killed", "TERM", kill="ann@desk")
    assert (record["state"], record["reason"]) == ("killed", "ended by ann@desk")


def test_shutdown_of_the_master_is_a_loss_but_a_success_stays_one() -> None:
    assert ended("success", "killed", "TERM", stopping=True)["state"] == "lost"
    assert ended("exit-code", "exited", "143", stopping=True)["state"] == "lost"
    assert ended("success", "exited", "0", stopping=True)["state"] == "succeeded"


@pytest.mark.parametrize(
    ("record", "active", "boot", "age", "state"),
    [
        (RUNNING, True, "b", 999, "running"),
        (RUNNING, False, "b", 0, "lost"),
        (RUNNING, True, "another", 0, "lost"),
        (RUNNING, False, "another", 0, "lost"),
        (SUBMITTED, False, "b", 5, "submitted"),
        (SUBMITTED, True, "b", 999, "submitted"),
        (SUBMITTED, False, "b", 61, "lost"),
        ({**SUBMITTED, "boot_id": "b"}, False, "b", 5, "submitted"),
        ({**SUBMITTED, "boot_id": "b"}, False, "another", 5, "lost"),
        ({**RUNNING, "state": "succeeded"}, False, "another", 999, "succeeded"),
        ({**RUNNING, "state": "killed"}, True, "b", 0, "killed"),
    ],
)
def test_how_a_record_must_be_read(
    record: dict[str, Any], active: bool, boot: str, age: float, state: str
) -> None:
    read = agent.judged(record, active, boot, age)
    assert read["state"] == state
    if state == "lost":
        assert read["reason"]


def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the agent as systemd and the command line do: as a program of its own."""
    return subprocess.run(
        [sys.executable, "-I", str(AGENT), *args],
        env={"PATH": os.environ["PATH"], **(env or {})},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "state.json").write_text(json.dumps(SUBMITTED))
    (tmp_path / "spec.json").write_text(json.dumps({"id": "j"}))
    (tmp_path / "job.log").write_text("hello\n")
    return tmp_path


def state(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "state.json").read_text())
    return record


def test_life_of_a_job_through_the_program(folder: Path) -> None:
    run("admit", str(folder))
    run("start", str(folder))
    begun = state(folder)
    assert begun["state"] == "running"
    assert begun["boot_id"] == agent.boot_id()
    assert begun["started_at"] == pytest.approx(time.time(), abs=30)
    result = {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "2"}
    run("finish", str(folder), env=result)
    over = state(folder)
    assert (over["state"], over["exit_code"]) == ("failed", 2)
    assert over["finished_at"] >= over["started_at"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "job.log",
        "results",
        "spec.json",
        "state.json",
    ]


def test_kill_mark_is_respected(folder: Path) -> None:
    run("mark-kill", str(folder), "ann@desk")
    run("finish", str(folder), env={"SERVICE_RESULT": "success", "EXIT_CODE": "killed"})
    assert state(folder)["reason"] == "ended by ann@desk"


def test_files_are_listed_with_checksums(folder: Path) -> None:
    (folder / "results" / "metrics.json").write_text("{}")
    (folder / "results" / "_temporary").write_text("x")
    (folder / "results" / "link").symlink_to("/etc/passwd")
    listed = {item["path"]: item for item in json.loads(run("files", str(folder)).stdout)}
    assert sorted(listed) == ["job.log", "results/metrics.json"]
    assert listed["job.log"]["sha256"] == hashlib.sha256(b"hello\n").hexdigest()
    assert listed["job.log"]["size"] == 6


def test_following_gives_each_complete_line_once_and_then_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "unit_active", lambda _job: True)
    agent.write_state(folder, {**RUNNING, "boot_id": agent.boot_id()})
    progress = folder / "progress.jsonl"
    progress.write_text('{"n": 1}\nnot json\n{"n"')

    def work() -> None:
        time.sleep(0.1)
        with progress.open("a") as stream:
            stream.write(': 2}\n{"n": 3}\n')
        agent.write_state(folder, {**RUNNING, "state": "succeeded"})

    thread = threading.Thread(target=work)
    thread.start()
    seen = list(agent.events(folder, 0))
    thread.join()
    assert [item["event"]["n"] for item in seen if "event" in item] == [1, 2, 3]
    assert seen[-1]["end"]["state"] == "succeeded"
    # whoever reconnects goes on behind the last event seen
    again = list(agent.events(folder, seen[0]["offset"]))
    assert [item["event"]["n"] for item in again if "event" in item] == [2, 3]


def test_following_a_job_whose_unit_is_gone_ends_as_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "unit_active", lambda _job: False)
    agent.write_state(folder, {**RUNNING, "boot_id": agent.boot_id()})
    assert list(agent.events(folder, 0))[-1]["end"]["state"] == "lost"
    assert state(folder)["state"] == "lost"


def test_agent_needs_nothing_but_an_old_python() -> None:
    import ast

    tree = ast.parse(AGENT.read_text(), feature_version=(3, 9))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= set(sys.stdlib_module_names)
