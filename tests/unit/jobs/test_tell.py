"""Somebody is told that a job has ended: by the master, or by a command here."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl.errors import UsageError
from mammoctl.jobs import notify
from mammoctl.jobs.remote import tell

JOB = "train-20261121-104512-ab12"
STATE = {
    "id": JOB,
    "state": "failed",
    "exit_code": 2,
    "reason": "it ended with exit code 2",
    "started_at": 10.0,
    "finished_at": 22.0,
}


@pytest.fixture
def server() -> Iterator[tuple[str, list[Any]]]:
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            got.append((self.path, json.loads(self.rfile.read(size))))
            self.send_response(500 if "broken" in self.path else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", got
        http.shutdown()


def wanted(folder: Path, *targets: str) -> None:
    document = {"cluster": "ward", "targets": targets}
    (folder / tell.TARGETS).write_text(json.dumps(document))


def test_an_address_gets_one_document_once(tmp_path: Path, server: Any) -> None:
    url, got = server
    wanted(tmp_path, f"{url}/hook?token=secret")
    assert tell.tell(tmp_path, STATE) == [{"target": f"{url}/...", "ok": True, "error": ""}]
    assert tell.tell(tmp_path, STATE) == []
    [(path, document)] = got
    assert path == "/hook?token=secret"
    assert (document["schema"], document["job"], document["exit_code"]) == (1, JOB, 2)
    assert document["text"] == f"{JOB} on ward: failed after 12 s: it ended with exit code 2"
    # another attempt has another end
    assert len(tell.tell(tmp_path, {**STATE, "attempt": 2})) == 1


def test_an_address_that_fails_is_kept_without_its_secret(tmp_path: Path, server: Any) -> None:
    url, _ = server
    wanted(tmp_path, f"{url}/broken?token=secret", "http://127.0.0.1:1/hook?token=secret")
    outcomes = tell.tell(tmp_path, STATE)
    assert [one["ok"] for one in outcomes] == [False, False]
    assert outcomes[0]["error"] == "HTTP 500"
    assert "refused" in outcomes[1]["error"]
    assert "secret" not in json.dumps(outcomes)


def test_mail_goes_through_the_master_s_own_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/args; cat > {tmp_path}/mail\n')
    program.chmod(0o755)
    monkeypatch.setattr(tell, "SENDMAIL", str(program))
    wanted(tmp_path, "mailto:ann@example.org")
    injected = {**STATE, "reason": "ended by x\nBcc: all@example.org"}
    assert tell.tell(tmp_path, injected)[0]["ok"]
    head, _, body = (tmp_path / "mail").read_text().partition("\n\n")
    lines = head.splitlines()
    assert lines[0] == "To: ann@example.org"
    assert lines[1].startswith(f"Subject: {JOB} on ward: failed")
    assert len(lines) == 2
    assert "exit_code: 2" in body
    assert (tmp_path / "args").read_text().split() == ["-i", "-t"]
    monkeypatch.setattr(tell, "SENDMAIL", str(tmp_path / "none"))
    assert not tell.tell(tmp_path, {**STATE, "attempt": 2})[0]["ok"]


def test_nobody_to_tell(tmp_path: Path) -> None:
    assert tell.tell(tmp_path, STATE) == []
    assert not list(tmp_path.iterdir())


def test_what_notify_may_be() -> None:
    found = notify.targets(
        ["https://chat.example.org/hook", "ann@example.org", "notify-send done", "./told a@b.c"]
    )
    assert found.addresses == ("https://chat.example.org/hook", "mailto:ann@example.org")
    assert found.commands == ("notify-send done", "./told a@b.c")
    for bad in ("", "https://", "http:///x", "http://h:99999/x", "http://h:x/", "http://[::1/"):
        with pytest.raises(UsageError):
            notify.targets([bad])


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path / "state" / "log"))
    return SimpleNamespace(name="ward", source=tmp_path / "hosts.yml")


def test_a_command_is_kept_and_run_once_with_what_happened(ward: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = f'echo "$MAMMOCTL_JOB $MAMMOCTL_STATE $MAMMOCTL_EXIT_CODE" >> {out}'
    notify.remember(ward, JOB, [command, f"echo second >> {out}"])
    [path] = (tmp_path / "state" / "notify").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert notify.waiting(ward) == [JOB]
    assert notify.waiting(SimpleNamespace(source=Path("another"))) == []
    notify.ended(ward, STATE)
    notify.ended(ward, STATE)
    assert out.read_text().splitlines() == [f"{JOB} failed 2", "second"]
    assert notify.waiting(ward) == []
    assert list((tmp_path / "state" / "notify").iterdir()) == []


def test_a_command_that_fails_is_told(ward: Any, capfd: pytest.CaptureFixture[str]) -> None:
    notify.remember(ward, JOB, ["echo said; exit 3"])
    notify.ended(ward, STATE)
    captured = capfd.readouterr()
    assert captured.out == ""  # standard output is for results
    assert "said" in captured.err
    assert "ended with status 3" in captured.err


def test_the_next_command_catches_up(
    ward: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = "gone-20261121-104512-ab12"
    at_work = "work-20261121-104512-ab12"
    for job in (JOB, gone, at_work):
        notify.remember(ward, job, [f"echo {job} >> {tmp_path}/out"])

    def show(_nodes: Any, job: str) -> dict[str, Any]:
        if job == gone:
            raise UsageError("there is no job")
        return {"state": STATE if job == JOB else {"id": job, "state": "running"}}

    monkeypatch.setattr(notify, "show", show)
    notify.settle(SimpleNamespace(cluster=ward))  # type: ignore[arg-type]
    assert (tmp_path / "out").read_text() == f"{JOB}\n"
    assert notify.waiting(ward) == [at_work]


def test_a_process_is_left_behind_only_where_there_is_something_to_do(
    ward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(notify.subprocess, "Popen", lambda argv, **_: started.append(argv))
    notify.leave_behind(ward, JOB)
    assert started == []
    notify.remember(ward, JOB, ["true"])
    notify.leave_behind(ward, JOB)
    assert started[0][1:] == ["-m", "mammoctl", "jobs", "await", JOB, "-i", str(ward.source)]
