"""Logs of runs, on this machine: what a command said, with times and without secrets.

A file is made with the first thing that is said, so that what says nothing leaves none.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl import paths

if TYPE_CHECKING:
    from mammoctl.redaction import Redactor

KEPT = 50
"""Logs of each kind that are kept."""

# What changes something or takes long; the rest may be asked again.
COMMANDS = frozenset({
    "provision", "upgrade", "teardown", "start", "stop", "restart", "node add", "node remove",
    "data push", "data remove", "submit", "predict", "explore", "access grant", "access revoke",
    "access accept", "secrets rotate", "backup", "restore", "bundle create", "unlock",
    "jobs kill", "jobs prune", "jobs resume",
})  # fmt: skip


class _Run:
    """The command that runs now."""

    name: str | None = None
    path: Path | None = None
    redactor: Redactor | None = None


_run = _Run()


def begin(command: str) -> None:
    """Start anew: what is said from now on belongs to this command (``data push``)."""
    _run.name = command if command in COMMANDS else None
    _run.path = _run.redactor = None


def path() -> Path | None:
    """Return the file of the present command's log; None where there is none."""
    return _run.path


def say(text: str, *, opens: bool = True) -> None:
    """Write down what is said.

    Args:
        text: one line or several.
        opens: make the file, if there is none yet.
    """
    if _run.name is None or (_run.path is None and not opens):
        return
    with suppress(OSError):  # no log is no reason to break off
        if _run.path is None or _run.redactor is None:
            from mammoctl.redaction import Redactor

            _run.redactor = Redactor()
            _run.path = new(_run.name.replace(" ", "-"), "console")
            _append(_run.path, "$ " + _run.redactor.text(shlex.join(["mammoctl", *sys.argv[1:]])))
        _append(_run.path, _run.redactor.text(text))


def _append(file: Path, text: str) -> None:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    # Names of files need not be valid text.
    with file.open("a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.writelines(f"{stamp} {line}\n" for line in text.splitlines() or [""])


def new(name: str, kind: str) -> Path:
    """Make the file of a new log, for us alone, and remove the oldest of its kind.

    Args:
        name: what was run, where.
        kind: ``ansible`` or ``console``.
    """
    folder = paths.log_dir()
    for old in sorted(folder.glob(f"*.{kind}.log"))[: -KEPT + 1]:
        old.unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    file = folder / f"{stamp}-{os.getpid()}-{name}.{kind}.log"
    file.touch(mode=0o600)
    return file
