from __future__ import annotations

import errno
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

from mammoctl.jobs import package
from mammoctl.jobs.remote import flow, records

REMOTE = Path(records.__file__).parent
RUNNING: dict[str, Any] = {"id": "j", "state": "running", "boot_id": "b", "submitted_at": 1.0}
SUBMITTED: dict[str, Any] = {**RUNNING, "state": "submitted", "boot_id": ""}


def ended(result: str, how: str, status: str, **more: Any) -> dict[str, Any]:
    env = {"SERVICE_RESULT": result, "EXIT_CODE": how, "EXIT_STATUS": status}
    options: dict[str, Any] = {"kill": None, "stopping": False, **more}
    return records.finished(RUNNING, env, 9.0, **options)


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
    read = records.judged(record, active, boot, age)
    assert read["state"] == state
    if state == "lost":
        assert read["reason"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / package.AGENT
    path.write_bytes(package.agent())
    return path


def run(
    program: Path, *args: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the agent as systemd and the command line do: as a program of its own."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(program), *args],
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


def test_life_of_a_job_through_the_program(folder: Path, program: Path) -> None:
    run(program, "admit", str(folder))
    assert state(folder)["boot_id"] == records.boot_id()
    records.write_state(folder, records.started(state(folder), time.time()))
    begun = state(folder)
    assert begun["state"] == "running"
    assert begun["boot_id"] == records.boot_id()
    assert begun["started_at"] == pytest.approx(time.time(), abs=30)
    result = {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "2"}
    run(program, "finish", str(folder), env=result)
    over = state(folder)
    assert (over["state"], over["exit_code"]) == ("failed", 2)
    assert over["finished_at"] >= over["started_at"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "job.log",
        "results",
        "spec.json",
        "state.json",
    ]


def test_kill_mark_is_respected(folder: Path, program: Path) -> None:
    run(program, "mark-kill", str(folder), "ann@desk")
    run(program, "finish", str(folder), env={"SERVICE_RESULT": "success", "EXIT_CODE": "killed"})
    assert state(folder)["reason"] == "ended by ann@desk"


def test_files_are_listed_with_checksums(folder: Path, program: Path) -> None:
    (folder / "results" / "metrics.json").write_text("{}")
    (folder / "results" / "plots").mkdir()
    (folder / "results" / "plots" / "a.png").write_text("png")
    (folder / "results" / ".hidden").mkdir()
    (folder / "results" / ".hidden" / "x").write_text("x")
    (folder / "results" / "_temporary").write_text("x")
    (folder / "results" / "link").symlink_to("/etc/passwd")
    listed = {item["path"]: item for item in json.loads(run(program, "files", str(folder)).stdout)}
    assert sorted(listed) == ["job.log", "results/metrics.json", "results/plots/a.png"]
    assert listed["job.log"]["sha256"] == hashlib.sha256(b"hello\n").hexdigest()
    assert listed["job.log"]["size"] == 6


def test_following_gives_each_complete_line_once_and_then_the_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "unit_active", lambda _job: True)
    records.write_state(folder, {**RUNNING, "boot_id": records.boot_id()})
    progress = folder / "progress.jsonl"
    progress.write_text('{"n": 1}\nnot json\n{"n"')

    def work() -> None:
        time.sleep(0.1)
        with progress.open("a") as stream:
            stream.write(': 2}\n{"n": 3}\n')
        records.write_state(folder, {**RUNNING, "state": "succeeded"})

    thread = threading.Thread(target=work)
    thread.start()
    seen = list(flow.events(folder, 0))
    thread.join()
    assert [item["event"]["n"] for item in seen if "event" in item] == [1, 2, 3]
    assert seen[-1]["end"]["state"] == "succeeded"
    # whoever reconnects goes on behind the last event seen
    again = list(flow.events(folder, seen[0]["offset"]))
    assert [item["event"]["n"] for item in again if "event" in item] == [2, 3]


def test_following_a_job_whose_unit_is_gone_ends_as_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "unit_active", lambda _job: False)
    records.write_state(folder, {**RUNNING, "boot_id": records.boot_id()})
    assert list(flow.events(folder, 0))[-1]["end"]["state"] == "lost"
    assert state(folder)["state"] == "lost"


@pytest.mark.parametrize("path", sorted(REMOTE.glob("*.py")), ids=lambda path: path.stem)
def test_agent_needs_nothing_but_an_old_python(path: Path) -> None:
    import ast

    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    modules = {
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    own = {name for name in modules if name.startswith("mammoctl.jobs.remote")}
    assert {name.split(".")[0] for name in modules - own} <= set(sys.stdlib_module_names)


def test_waiting_job_whose_unit_is_gone_is_lost_with_a_reason() -> None:
    waiting = {**RUNNING, "state": "queued", "reason": "no worker is up"}
    assert records.judged(waiting, True, "b", 999) == waiting
    gone = records.judged(waiting, False, "b", 0)
    assert (gone["state"], "waiting for its turn" in gone["reason"]) == ("lost", True)
    rebooted = records.judged(waiting, True, "another", 0)
    assert rebooted["reason"] == "the master was restarted while it waited"


def test_full_disk_does_not_lose_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = records._write

    def full(path: Path, mode: str, text: str) -> None:
        if mode == "w":
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, mode, text)

    monkeypatch.setattr(records, "_write", full)
    records.write_state(folder, {"state": "failed"})
    assert state(folder) == {"state": "failed"}
    assert not list(folder.glob(".state*"))


def test_another_attempt_keeps_what_became_of_the_first() -> None:
    lost = {
        **RUNNING,
        "state": "lost",
        "reason": "the master was restarted while it ran",
        "started_at": 2.0,
        "notified": [{"target": "x"}],
    }
    again = records.reopened(lost, 5.0)
    assert (again["state"], again["boot_id"], again["attempt"]) == ("submitted", "", 2)
    assert again["attempts"] == [
        {"state": "lost", "reason": lost["reason"], "started_at": 2.0},
    ]
    assert not {"reason", "started_at", "notified"} & set(again)
    third = records.reopened({**again, "state": "failed", "exit_code": 1}, 6.0)
    assert (third["attempt"], len(third["attempts"])) == (3, 2)


@pytest.mark.parametrize("now", ["submitted", "queued", "running", "succeeded"])
def test_nothing_to_resume(now: str) -> None:
    with pytest.raises(ValueError, match=now):
        records.reopened({**RUNNING, "state": now}, 5.0)


def test_of_two_who_resume_one_is_refused(
    folder: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "progress.jsonl").write_text("{}\n")
    (folder / "kill").write_text("ann\n")
    records.write_state(folder, {**RUNNING, "state": "killed"})
    first = json.loads(run(program, "reopen", str(folder)).stdout)
    assert first == {"progress": 3, "log": 6}
    assert not (folder / "kill").exists()
    second = json.loads(run(program, "reopen", str(folder)).stdout)
    assert second == {"refused": "it is submitted"}


def test_log_is_followed_beside_the_events(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "unit_active", lambda _job: True)
    records.write_state(folder, {**RUNNING, "boot_id": records.boot_id()})
    log = folder / "job.log"
    log.write_bytes(b"one\ntwo\nthr")
    following = flow.events(folder, 0, -2)
    first = next(following)
    assert first == {"log": "two\n", "log_offset": 8}
    log.write_bytes(b"one\ntwo\nthree\n\xff four")
    assert next(following) == {"log": "three\n", "log_offset": 14}
    records.write_state(folder, {**RUNNING, "state": "failed"})
    assert [item.get("log") for item in following] == ["\ufffd four", None]
    # who reconnects gets the rest only
    assert next(flow.events(folder, 0, 14)) == {"log": "\ufffd four", "log_offset": 20}


def test_who_wants_the_log_alone_names_a_far_offset(folder: Path) -> None:
    (folder / "progress.jsonl").write_text('{"n": 1}\n')
    (folder / "job.log").write_text("one\n")
    records.write_state(folder, {**RUNNING, "state": "succeeded"})
    items = list(flow.events(folder, 1 << 62, 0))
    assert [next(iter(item)) for item in items] == ["log", "end"]


@pytest.mark.parametrize(
    ("text", "lines", "offset"),
    [
        (b"", 5, 0),
        (b"a\nb\nc\n", 1, 4),
        (b"a\nb\nc\n", 2, 2),
        (b"a\nb\nc\n", 3, 0),
        (b"a\nb\nc\n", 9, 0),
        (b"a\nb\nc", 1, 4),
        (b"x\n" * 100_000, 70_000, 60_000),
    ],
)
def test_where_the_last_lines_begin(tmp_path: Path, text: bytes, lines: int, offset: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(text)
    assert flow.tail_offset(path, lines) == offset


def test_a_job_takes_its_turn_and_becomes_its_command(folder: Path, program: Path) -> None:
    """The agent as the unit runs it, against a Spark master's page over HTTP."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    asked: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            worker = {"state": "ALIVE", "cores": 2, "memory": 1024, "memoryused": 0}
            used = 2 if len(asked) < 3 else 0
            body = json.dumps({"workers": [{**worker, "coresused": used}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        needs = {
            "page": f"http://127.0.0.1:{server.server_port}/json/",
            **{"executors": 1, "cores": 2, "memory_mb": 512, "driver_mb": 1},
        }
        argv = ["/bin/sh", "-c", "echo it runs; cat state.json"]
        (folder / "spec.json").write_text(json.dumps({"needs": needs, "argv": argv}))
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(program), "run", str(folder)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        server.shutdown()
    assert asked == ["/json/"] * 3
    first, _, rest = done.stdout.partition("\n")
    assert first == "it runs"
    assert json.loads(rest)["state"] == "running"
    told = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [event["event"] for event in told] == ["queued", "began"]
    assert told[0]["text"] == "it needs 1 x 2 cores and 512 MiB, there is room for 0"
