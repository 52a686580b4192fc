"""A job is ended, or it is told that it was not; a record that cannot be read is no missing job."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl.errors import JobError, RemoteError, UsageError
from mammoctl.jobs import known
from mammoctl.jobs.remote import agent, records
from mammoctl.ssh import Result

JOB = "train-20261121-104512-ab12"


class Master:
    """Answers for the agent and for systemctl; ``states`` are what the record says in turn."""

    def __init__(self, *states: str, complaint: str = "") -> None:
        self.cluster = SimpleNamespace(name="ward", vars={}, master=SimpleNamespace(name="n1"))
        self.states = list(states)
        self.complaint = complaint
        self.ran: list[str] = []

    def run(self, host: str, command: list[str] | str, **_options: Any) -> Result:
        argv = command.split() if isinstance(command, str) else command
        words = [word for word in argv if word in ("show", "list", "mark-kill", "stop")]
        self.ran += words
        if words == ["list"]:
            return Result(host, "list", "[]", "", 0)
        if words == ["show"] and self.complaint:
            return Result(host, "show", "", self.complaint, 1)
        if words == ["show"]:
            record = {"spec": {"id": JOB}, "state": {"id": JOB, "state": self.states.pop(0)}}
            return Result(host, "show", json.dumps(record), "", 0)
        return Result(host, words[0], "", "Failed to stop: timed out", int(words == ["stop"]))


def test_a_job_that_ended_stays_what_it_is() -> None:
    master = Master("succeeded")
    before, after = known.kill(master, JOB)  # type: ignore[arg-type]
    assert (before, after["state"]) == ("succeeded", "succeeded")
    assert master.ran == ["show"]


def test_a_running_job_is_marked_and_stopped() -> None:
    master = Master("running", "killed")
    before, after = known.kill(master, JOB)  # type: ignore[arg-type]
    assert (before, after["state"]) == ("running", "killed")
    assert master.ran == ["show", "mark-kill", "stop", "show"]


def test_a_job_that_goes_on_is_no_success() -> None:
    with pytest.raises(JobError, match="still running") as caught:
        known.kill(Master("running", "running"), JOB)  # type: ignore[arg-type]
    assert caught.value.details == ["Failed to stop: timed out"]
    assert f"systemctl status mammoctl-job-{JOB}" in caught.value.hint


def test_no_such_job() -> None:
    complaint = f"FileNotFoundError: [Errno 2] No such file or directory: '{JOB}/spec.json'"
    with pytest.raises(UsageError, match="there is no job"):
        known.show(Master(complaint=complaint), JOB)  # type: ignore[arg-type]


def test_a_record_that_cannot_be_brought_up_to_date_is_told_as_that() -> None:
    complaint = "OSError: [Errno 28] No space left on device: '.state.17'"
    with pytest.raises(RemoteError) as caught:
        known.show(Master(complaint=complaint), JOB)  # type: ignore[arg-type]
    assert "No space left" in caught.value.details[-1]


@pytest.mark.parametrize(
    ("complaint", "ends"),
    [
        ("OSError: [Errno 28] No space left on device", True),
        ("PermissionError: [Errno 13] Permission denied", False),
    ],
)
def test_a_job_that_has_filled_the_disk_can_be_ended(*, complaint: str, ends: bool) -> None:
    master = Master("running", "failed")
    asked = master.run

    def run(host: str, command: list[str] | str, **options: Any) -> Result:
        done = asked(host, command, **options)
        if "mark-kill" in command:
            if options.get("check", True):
                raise RemoteError(complaint)
            return Result(host, "", "", complaint, 1)
        return done

    master.run = run  # type: ignore[method-assign]
    if ends:
        known.kill(master, JOB)  # type: ignore[arg-type]
        assert master.ran == ["show", "mark-kill", "stop", "show"]
    else:
        with pytest.raises(RemoteError):
            known.kill(master, JOB)  # type: ignore[arg-type]
        assert "stop" not in master.ran


def test_a_full_disk_leaves_a_mark_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _text: str) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert agent.main(["mark-kill", str(tmp_path), "ann@desk"]) == 0
    assert (tmp_path / "kill").exists()
    state = records.finished({}, {}, 1.0, kill="", stopping=False)
    assert (state["state"], state["reason"]) == ("killed", "ended by somebody")


def test_jobs_are_listed_although_no_disk_has_room() -> None:
    lines: list[tuple[str, bytes]] = []

    class Nodes:
        cluster = SimpleNamespace(vars={}, master=SimpleNamespace(name="n1"))

        def run(self, host: str, line: str, *, sudo: str, input: bytes) -> Result:
            assert sudo
            lines.append((line, input))
            return Result(host, "", "[]", "", 0)

    assert known.list_jobs(Nodes()) == []  # type: ignore[arg-type]
    line, program = lines[0]
    nowhere = {"PATH": os.environ["PATH"], "TMPDIR": "/proc/full"}
    done = subprocess.run(
        ["sh", "-c", line], input=program, env=nowhere, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)
