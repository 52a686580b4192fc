"""The agent's commands; systemd gives them after a job, the command line over SSH.

It runs as the user of the job, never as root.

A job is ``submitted``, ``queued`` until the cluster has room for it, ``running``, and then
``succeeded``, ``failed``, ``killed`` or ``lost``. Lost means that nobody saw its end: the machine
was restarted, or the unit is gone.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mammoctl.jobs.remote.flow import checksums, events
from mammoctl.jobs.remote.queue import take_turn
from mammoctl.jobs.remote.records import (
    boot_id,
    current,
    finished,
    locked,
    read_state,
    reopened,
    report,
    told,
    write_state,
)

JOBS = Path("/var/lib/mammoctl/jobs")


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


def _finish(folder: Path) -> None:
    mark = folder / "kill"
    kill = mark.read_text().strip() if mark.exists() else None
    state = finished(read_state(folder), os.environ, time.time(), kill, system_stopping())
    space = os.statvfs(folder)
    if state["state"] == "failed" and space.f_bavail * space.f_frsize < 1 << 20:
        state["reason"] += "; the master's disk is full"
    write_state(folder, state)
    told(folder, state)


def _run(folder: Path) -> int:  # noqa: RET503  execv does not return
    try:
        take_turn(folder, folder.parent)
    except TimeoutError as exc:
        text = f"the Spark master does not answer ({exc}): `mammoctl start` brings it up"
        report(folder, {"event": "message", "level": "error", "text": text})
        sys.stderr.write(text + "\n")
        return 1
    argv = json.loads((folder / "spec.json").read_text())["argv"]
    os.execv(argv[0], argv)  # noqa: S606  the command line of spark-submit, no shell


def _admit(folder: Path) -> None:
    # not by the unit: a sandbox may show it another id
    write_state(folder, {**read_state(folder), "boot_id": boot_id()})


def _mark_kill(folder: Path, who: str) -> None:
    """Note who wants the end; on a full disk, which the job may have filled, without the name."""
    try:
        (folder / "kill").write_text(who + "\n")
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _reopen(folder: Path) -> None:
    """Make ready for another attempt; two at once cannot both do so."""
    with locked(folder):
        try:
            state = reopened(current(folder), time.time())
        except ValueError as exc:
            _emit({"refused": str(exc)})
            return
        (folder / "kill").unlink(missing_ok=True)
        write_state(folder, state)
    files = {"progress": "progress.jsonl", "log": "job.log"}
    _emit({name: (folder / file).stat().st_size for name, file in files.items()})


def _show(folder: Path) -> None:
    spec = json.loads((folder / "spec.json").read_text())
    _emit({"spec": spec, "state": current(folder)})


def main(arguments: list[str] | None = None) -> int:
    """Run one of the agent's commands; it answers in lines of JSON."""
    commands: dict[str, Callable[[Path], None]] = {
        "admit": _admit,
        "finish": _finish,
        "reopen": _reopen,
        "show": _show,
        "files": lambda folder: _emit(checksums(folder)),
        "list": lambda _: _emit(_list()),
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=[*commands, "run", "mark-kill", "follow"])
    parser.add_argument("folder", type=Path, nargs="?", default=JOBS)
    parser.add_argument("value", nargs="?", default="")
    parser.add_argument("--log", type=int)
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    if options.command == "run":
        return _run(folder)
    if options.command == "mark-kill":
        _mark_kill(folder, options.value)
    elif options.command == "follow":
        for item in events(folder, int(options.value or 0), options.log):
            _emit(item)
    else:
        commands[options.command](folder)
    return 0


def program() -> None:
    """Run as a program: whoever hangs up ends it without a traceback."""
    try:
        sys.exit(main())
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)
