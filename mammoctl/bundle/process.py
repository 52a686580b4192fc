"""Run client programs that may take minutes: in parallel, watched, and never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from functools import cache
from pathlib import Path


class Runner:
    """Programs started by several threads, which end together when one of them must stop.

    Each program gets a process group of its own: Ctrl-C reaches only mammoctl, which then ends
    the groups and cleans up behind them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(
        self, argv: list[str], *, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> tuple[int, str]:
        """Run a program to its end; return its exit status and everything it wrote.

        Raises:
            Stopped: :meth:`stop` was called.
        """
        with self._lock:
            if self._stopped:
                raise Stopped
            program = subprocess.Popen(
                [*_dying_with_us(), *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
            self._running.add(program)
        try:
            output, _ = program.communicate()
        except BaseException:
            _end(program)
            raise
        finally:
            with self._lock:
                self._running.discard(program)
        if self._stopped:
            raise Stopped
        return program.returncode, output

    def stop(self) -> None:
        """End all programs and refuse new ones."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for program in running:
            _end(program)


class Stopped(Exception):
    """The run was ended from outside while the program worked."""


@cache
def _dying_with_us() -> tuple[str, ...]:
    """Return what to put before a program so that it ends when mammoctl is killed outright."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "TERM", "--") if setpriv else ()


def _end(program: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if program.poll() is not None:
            return
        try:
            os.killpg(program.pid, number)
            program.wait(timeout=5)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
