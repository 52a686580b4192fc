"""The ``mammoctl`` command as the lab's tests run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Finished:
    """What a command left: exit code, both streams, wall-clock seconds."""

    rc: int
    stdout: str
    stderr: str
    seconds: float

    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


@dataclass
class Cli:
    """The ``mammoctl`` command, run in a folder of the test's own."""

    cwd: Path
    env: dict[str, str] = field(default_factory=dict)

    def argv(self, *args: str) -> list[str]:
        return [str(Path(sys.executable).parent / "mammoctl"), *args]

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*args),
            cwd=self.cwd,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self,
        *args: str,
        rc: int | None = 0,
        timeout: float = 600,
        interrupt_after: float | None = None,
    ) -> Finished:
        """Run a command; assert its exit code unless ``rc`` is None; Ctrl-C it if asked."""
        started = time.monotonic()
        process = self.start(*args)
        try:
            if interrupt_after is not None:
                time.sleep(interrupt_after)
                process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            pytest.fail(
                f"mammoctl {' '.join(args)} took over {timeout} s\n{stdout[-3000:]}{stderr[-6000:]}"
            )
        done = Finished(process.returncode, stdout, stderr, time.monotonic() - started)
        assert "Traceback" not in done.text, done.text[-6000:]
        if rc is not None:
            assert done.rc == rc, f"mammoctl {' '.join(args)}: {done.rc}\n{done.text[-6000:]}"
        return done
