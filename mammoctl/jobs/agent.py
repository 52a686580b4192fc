"""The part of a job that runs on the master: it keeps the job's state, lets it be watched, ends it.

It is copied into each job's folder and run there by the system's Python (3.9 or later, nothing
installed), by systemd before and after the job and by the command line over SSH. It runs as the
user of the job, never as root.

A job is ``submitted``, ``running``, and then ``succeeded``, ``failed``, ``killed`` or ``lost``.
Lost means that nobody saw its end: the machine was restarted, or the unit is gone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

JOBS = Path("/var/lib/mammoctl/jobs")
ENDED = ("succeeded", "failed", "killed", "lost")
START_GRACE = 60.0
"""Seconds that a job may be submitted without its unit being there."""

POLL = 0.25
BEAT = 5.0

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
    temporary = folder / f".state.{os.getpid()}"
    with temporary.open("w") as stream:
        json.dump(state, stream, indent=1, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / "state.json")


def started(state: State, now: float) -> State:
    """Return the record of a job whose unit begins."""
    return {**state, "state": "running", "started_at": now}


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
        return {**ended, "state": "killed", "reason": f"ended by {kill}"}
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
    if state["state"] in ENDED:
        return state
    if state["boot_id"] not in ("", boot):
        return {**state, "state": "lost", "reason": "the master was restarted while it ran"}
    if active:
        return state
    if state["state"] == "submitted":
        if age < START_GRACE:
            return state
        return {**state, "state": "lost", "reason": "its unit was never started"}
    return {**state, "state": "lost", "reason": "its unit is gone without a trace of its end"}


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
    return now


def events(folder: Path, offset: int) -> Iterator[dict[str, Any]]:
    """Yield what happens to a job until its end, from a byte offset of its progress file on."""
    path = folder / "progress.jsonl"
    beat = asked = time.monotonic()
    state = current(folder)
    while True:
        ended = state["state"] in ENDED
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                data = stream.read()
        except FileNotFoundError:
            data = b""
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            try:
                yield {"offset": offset, "event": json.loads(line)}
            except ValueError:
                continue
        if ended:
            yield {"end": state}
            return
        now = time.monotonic()
        if now - beat >= BEAT:
            beat = now
            yield {"beat": True}
        time.sleep(POLL)
        if now - asked >= BEAT:
            asked = now
            state = current(folder)
        else:  # cheap: the record alone tells of an ordinary end
            state = read_state(folder)


def checksums(folder: Path) -> list[dict[str, Any]]:
    """List a job's results and its log with sizes and sha256."""
    found = []
    paths = [*sorted((folder / "results").glob("*")), folder / "job.log"]
    for path in paths:
        if path.is_file() and not path.is_symlink() and not path.name.startswith((".", "_")):
            digest = hashlib.sha256()
            with path.open("rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
            relative = path.relative_to(folder).as_posix()
            size = path.stat().st_size
            found.append({"path": relative, "size": size, "sha256": digest.hexdigest()})
    return found


def system_stopping() -> bool:
    """Tell whether the machine is going down."""
    argv = ["systemctl", "is-system-running"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False, text=True)
    return done.stdout.strip() == "stopping"


def _emit(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _list() -> list[dict[str, Any]]:
    jobs = []
    for folder in sorted(JOBS.glob("*/state.json")):
        try:
            spec = json.loads((folder.parent / "spec.json").read_text())
            jobs.append({"spec": spec, "state": current(folder.parent)})
        except (OSError, ValueError, KeyError):
            continue
    return jobs


def main(arguments: list[str] | None = None) -> int:
    """Run one of the agent's commands; it answers in lines of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("folder", type=Path, nargs="?", default=JOBS)
    parser.add_argument("value", nargs="?", default="")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    if options.command == "admit":
        # not by the unit: a sandbox may show it another id
        write_state(folder, {**read_state(folder), "boot_id": boot_id()})
    elif options.command == "start":
        write_state(folder, started(read_state(folder), time.time()))
    elif options.command == "finish":
        mark = folder / "kill"
        kill = mark.read_text().strip() if mark.exists() else None
        state = read_state(folder)
        write_state(folder, finished(state, os.environ, time.time(), kill, system_stopping()))
    elif options.command == "mark-kill":
        (folder / "kill").write_text(options.value + "\n")
    elif options.command == "follow":
        for item in events(folder, int(options.value or 0)):
            _emit(item)
    elif options.command == "show":
        spec = json.loads((folder / "spec.json").read_text())
        _emit({"spec": spec, "state": current(folder)})
    elif options.command == "files":
        _emit(checksums(folder))
    elif options.command == "list":
        _emit(_list())
    else:
        parser.error(f"unknown command {options.command}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)
