"""Start pytest on the checks, follow it, and judge."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mammoctl import become, paths
from mammoctl.errors import Interrupted, MammoctlError
from mammoctl.inventory import Cluster
from mammoctl.verify.plugin import FD_VARIABLE, VERSION

Outcome = Literal["passed", "failed", "error", "skipped"]
NOT_CHECKED = 2


class NotChecked(MammoctlError):
    """The cluster could not be checked at all (exit code 2)."""

    exit_code = NOT_CHECKED


class Check(BaseModel):
    """One check and what came of it; ``host`` is the master for checks of the whole cluster."""

    model_config = ConfigDict(extra="ignore")

    role: str
    check: str
    host: str
    subject: str = ""
    what: str
    outcome: Outcome
    seconds: float = 0.0
    seen: str = ""
    mend: str = ""


class _Event(BaseModel):
    model_config = ConfigDict(extra="allow")

    v: int
    event: str
    checks: int = 0


class Verdict(BaseModel):
    """Everything that was checked.

    Attributes:
        seconds: of the whole run.
        trouble: what pytest said when it could not do its work, else an empty string.
    """

    cluster: str
    checks: list[Check]
    seconds: float
    trouble: str = ""

    def count(self, outcome: Outcome) -> int:
        """Return the number of checks with that outcome."""
        return sum(check.outcome == outcome for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 all is well, 1 a check failed, 2 something could not be checked."""
        if self.count("failed"):
            return 1
        if self.trouble or self.count("error") or not self.count("passed"):
            return NOT_CHECKED
        return 0


def argv(
    cluster: Cluster, ssh_config: Path, *, junit: Path | None = None, roles: Sequence[str] = ()
) -> list[str]:
    """Return the command line of pytest.

    Args:
        cluster: what to check.
        ssh_config: how to reach its hosts.
        junit: where to write a JUnit file.
        roles: only these, such as ``spark``; all by default.
    """
    checks = paths.project_root() / "tests" / "infra"
    chosen = [str(checks / f"test_{role}.py") for role in roles] or [str(checks)]
    line = [
        sys.executable, "-m", "pytest",
        # Nothing of a configuration or a cache that happens to lie around.
        "-c", os.devnull, "--rootdir", str(checks), "-p", "no:cacheprovider",
        "-p", "mammoctl.verify.plugin",
        "-q", "--tb=short", "--no-header", "-o", "junit_family=xunit2",
        "--mammoctl-inventory", str(cluster.source),
        "--mammoctl-ssh-config", str(ssh_config),
    ]  # fmt: skip
    if junit:
        line += ["--junitxml", str(junit.absolute())]
    return line + chosen


def environment(fd: int) -> dict[str, str]:
    """Return pytest's environment; other people's plugins and options stay out."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        FD_VARIABLE: str(fd),
    }
    return env


def run(
    cluster: Cluster,
    ssh_config: Path,
    *,
    junit: Path | None = None,
    roles: Sequence[str] = (),
    on_total: Callable[[int], None] = lambda _total: None,
    on_check: Callable[[Check], None] = lambda _check: None,
) -> Verdict:
    """Check a cluster.

    Args:
        cluster: what to check.
        ssh_config: how to reach its hosts.
        junit: where to write a JUnit file.
        roles: only these; all by default.
        on_total: called once with the number of checks.
        on_check: called with every check as it ends.

    Raises:
        Interrupted: Ctrl-C.
    """
    began = time.monotonic()
    checks: list[Check] = []
    with tempfile.TemporaryFile() as output:
        line = argv(cluster, ssh_config, junit=junit, roles=roles)
        with _lines(line, output) as (process, lines):
            for raw in lines:
                _take(raw, cluster, checks, on_total, on_check)
            rc = process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    trouble = "" if rc in (0, 1) else "\n".join(said.splitlines()[-15:]) or f"pytest ended: {rc}"
    seconds = time.monotonic() - began
    return Verdict(cluster=cluster.name, checks=checks, seconds=seconds, trouble=trouble)


def _take(
    raw: bytes,
    cluster: Cluster,
    checks: list[Check],
    on_total: Callable[[int], None],
    on_check: Callable[[Check], None],
) -> None:
    try:
        event = _Event.model_validate_json(raw)
        if event.v != VERSION:
            return
        if event.event == "collected":
            on_total(event.checks)
        elif event.event == "check":
            check = Check.model_validate_json(raw)
            check.host = check.host or cluster.master.name
            checks.append(check)
            on_check(check)
    except ValidationError:
        return


@contextmanager
def _lines(
    line: list[str], output: IO[bytes]
) -> Iterator[tuple[subprocess.Popen[bytes], Iterator[bytes]]]:
    reading, writing = os.pipe()
    process: subprocess.Popen[bytes] | None = None
    with os.fdopen(reading, "rb") as stream:
        try:
            try:
                process = subprocess.Popen(
                    line,
                    env=environment(writing),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(writing, *become.inherited()),
                )
            finally:
                os.close(writing)
            yield process, iter(stream)
        except BaseException as exc:
            if process is not None:
                process.terminate()
                process.wait()
            if not isinstance(exc, KeyboardInterrupt):
                raise
            # The terminal has sent it to pytest as well.
            raise Interrupted(
                "interrupted; the cluster was only looked at", hint="run `mammoctl verify` again"
            ) from None
