"""A job's record: what it says, how it changes, and how it must be read."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mammoctl.jobs.remote import tell

ALIVE = ("submitted", "queued", "running")
ENDED = ("succeeded", "failed", "killed", "lost")
START_GRACE = 60.0
"""Seconds that a job may be submitted without its unit being there."""

State = dict[str, Any]


def boot_id() -> str:
    """Return the kernel's id of this boot; containers share their host's, so add ours."""
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    # a container is restarted without the kernel: its first process then has another start time
    try:
        started = Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        started = ""
    return f"{kernel}-{started}"


def read_state(folder: Path) -> State:
    """Read a job's record."""
    state: State = json.loads((folder / "state.json").read_text())
    return state


def write_state(folder: Path, state: State) -> None:
    """Write a job's record, whole or not at all."""
    target, temporary = folder / "state.json", folder / f".state.{os.getpid()}"
    text = json.dumps(state, indent=1, sort_keys=True) + "\n"
    try:
        _write(temporary, "w", text)
        temporary.replace(target)
    except OSError as exc:
        with suppress(OSError):
            temporary.unlink()
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # a full disk must not turn an end into a loss: the old record's own block takes the new
        _write(target, "r+", text)


def _write(path: Path, mode: str, text: str) -> None:
    with path.open(mode) as stream:
        stream.write(text)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())


def started(state: State, now: float) -> State:
    """Return the record of a job that begins."""
    return {**state, "state": "running", "started_at": now, "reason": ""}


def queued(state: State, now: float, reason: str) -> State:
    """Return the record of a job that waits for its turn, and why."""
    return {**state, "state": "queued", "queued_at": state.get("queued_at", now), "reason": reason}


def reopened(state: State, now: float) -> State:
    """Return the record of a job that is resumed; what became of it so far is kept.

    Raises:
        ValueError: it has not ended, or there is nothing left to do.
    """
    if state["state"] not in ENDED:
        raise ValueError(f"it is {state['state']}")
    if state["state"] == "succeeded":
        raise ValueError("it has succeeded")
    times = ("state", "reason", "exit_code", "queued_at", "started_at", "finished_at")
    past = {key: state[key] for key in times if key in state}
    kept = {k: v for k, v in state.items() if k not in (*times, "service_result", "notified")}
    attempts = [*state.get("attempts", []), past]
    return {
        **kept,
        "state": "submitted",
        "boot_id": "",
        "resumed_at": now,
        "attempt": len(attempts) + 1,
        "attempts": attempts,
    }


def finished(
    state: State, env: Mapping[str, str], now: float, kill: str | None, stopping: bool
) -> State:
    """Return the record of a job whose unit ended.

    Args:
        state: the record so far.
        env: SERVICE_RESULT, EXIT_CODE and EXIT_STATUS as systemd gives them to ExecStopPost.
        now: seconds since the epoch.
        kill: who asked to end the job, if anybody did.
        stopping: the machine is being shut down.
    """
    how, status = env.get("EXIT_CODE", ""), env.get("EXIT_STATUS", "")
    result = env.get("SERVICE_RESULT", "")
    code = exit_code(how, status)
    ended = {**state, "finished_at": now, "exit_code": code, "service_result": result}
    if kill is not None:
        return {**ended, "state": "killed", "reason": f"ended by {kill or 'somebody'}"}
    if how == "exited" and code == 0 and result == "success":
        return {**ended, "state": "succeeded", "reason": ""}
    if stopping:
        return {**ended, "state": "lost", "reason": "the master was shut down while it ran"}
    return {**ended, "state": "failed", "reason": reason(how, status, result)}


def exit_code(how: str, status: str) -> int:
    """Return a shell's exit code for systemd's EXIT_CODE and EXIT_STATUS."""
    if how == "exited" and status.isdigit():
        return int(status)
    number = getattr(signal, f"SIG{status}", None) if status.isalnum() else None
    return 128 + int(number) if number else 1


def reason(how: str, status: str, result: str) -> str:
    """Say in words how a unit ended."""
    if result == "oom-kill":
        return "it needed more memory than the master grants a job"
    if result == "timeout":
        return "it ran into a time limit"
    if how in ("killed", "dumped"):
        return f"it was ended by signal {status}"
    if how == "exited" and status not in ("", "0"):
        return f"it ended with exit code {status}"
    return f"its unit could not run ({result or 'no result'})"


def judged(state: State, active: bool, boot: str, age: float) -> State:
    """Return the record as it must be read: a job that nobody runs any more is lost.

    ``active`` must have been observed before ``state`` was read: the unit's last act is to
    write the record. ``age`` is the record's, in seconds of the master's clock.
    """
    now = state["state"]
    if now in ENDED:
        return state
    if state["boot_id"] not in ("", boot):
        why = "the master was restarted while it " + ("waited" if now == "queued" else "ran")
        return {**state, "state": "lost", "reason": why}
    if active or (now == "submitted" and age < START_GRACE):
        return state
    reasons = {
        "submitted": "its unit was never started",
        "queued": "its unit is gone; it was waiting for its turn",
        "running": "its unit is gone without a trace of its end",
    }
    return {**state, "state": "lost", "reason": reasons[now]}


def unit_active(job: str) -> bool:
    """Ask systemd whether a job's unit exists in any state but dead."""
    argv = ["systemctl", "show", "-p", "ActiveState", "--value", f"mammoctl-job-{job}.service"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False, text=True)
    return done.stdout.strip() not in ("inactive", "failed", "")


def current(folder: Path) -> State:
    """Read a job's record as it must be read now, and keep what was found out."""
    active = unit_active(folder.name)
    state = read_state(folder)
    age = time.time() - (folder / "state.json").stat().st_ctime
    now = judged(state, active, boot_id(), age)
    if now != state:
        write_state(folder, now)
        if now["state"] == "lost":
            now = told(folder, now)
    return now


def told(folder: Path, state: State) -> State:
    """Tell who is to be told of an end, and return the record with what came of it."""
    outcomes = tell.tell(folder, state)
    if outcomes:
        state = {**state, "notified": outcomes}
        write_state(folder, state)
    return state


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other programs of this kind out of a folder meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def report(folder: Path, event: Mapping[str, Any]) -> None:
    """Append an event to a job's progress; a full disk stops nothing."""
    record = {"v": 1, "t": round(time.time(), 3), **event}
    with suppress(OSError), (folder / "progress.jsonl").open("a") as stream:
        stream.write(json.dumps(record) + "\n")
