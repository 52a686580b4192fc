"""Download pinned wheels with pip, several at once, into the store.

pip is the client so that whatever index, mirror, proxy or certificates the user has configured
keep working; it is called with ``--no-deps`` because its own resolution for another target
evaluates markers for the running interpreter.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mammoctl import console
from mammoctl.bundle.clients import client_error, is_unreachable, pip_argv, pip_environment
from mammoctl.bundle.locks import Pin
from mammoctl.bundle.process import Runner
from mammoctl.bundle.relock import platforms
from mammoctl.bundle.store import Store, human
from mammoctl.errors import BundleError

_WORKERS = 4
# Files above this size get a pip of their own, so that a broken connection costs only one.
_LARGE = 20_000_000
_ATTEMPTS = 3
_MISMATCH = "DO NOT MATCH THE HASHES"


@dataclass
class Job:
    """One piece of work that ends with files in the store.

    Attributes:
        title: what to say when it is done.
        size: bytes that it is expected to download; 0 for work that downloads nothing.
        work: does it, in the folder given.
        count: how many files it brings.
        folder: the folder, whose growing size is the progress.
    """

    title: str
    size: int
    work: Callable[[Path, Runner], None]
    count: int = 1
    folder: Path = field(default_factory=Path)


def batches(pins: Sequence[Pin]) -> list[list[Pin]]:
    """Return the pins in groups for one pip each: large files alone, small ones together.

    The largest come first, so that the last one to finish is a short one.
    """
    large = sorted((p for p in pins if p.size >= _LARGE), key=lambda p: -p.size)
    groups = [[pin] for pin in large]
    small: list[Pin] = []
    for pin in sorted((p for p in pins if p.size < _LARGE), key=lambda p: -p.size):
        small.append(pin)
        if sum(p.size for p in small) >= _LARGE or len(small) >= 16:
            groups.append(small)
            small = []
    return [*groups, small] if small else groups


def wheel_job(store: Store, pins: Sequence[Pin], python: str, arch: str) -> Job:
    """Return the job that downloads ``pins`` (wheels for ``python`` on ``arch``) with one pip."""

    def work(folder: Path, runner: Runner) -> None:
        argv = [*pip_argv(), "download", "--quiet", "--no-deps", "--no-cache-dir"]
        argv += ["--require-hashes", "--only-binary", ":all:"]
        argv += ["--python-version", python, "--implementation", "cp"]
        for platform in platforms(arch):
            argv += ["--platform", platform]
        pip(argv, pins, folder, runner)
        wanted = {pin.sha256: pin for pin in pins}
        for path in sorted((folder / "done").iterdir()):
            known = [p.sha256 for p in pins if p.file == path.name]
            store.add(path, known[0] if known else None)
        missing = [pin.name for sha256, pin in wanted.items() if store.get(sha256) is None]
        if missing:
            raise BundleError(f"the index has no pinned file for {', '.join(missing)}")

    first = pins[0]
    title = first.file if len(pins) == 1 else f"{len(pins)} packages from {first.name} on"
    return Job(title=title, size=sum(p.size for p in pins), work=work, count=len(pins))


def pip(
    argv: list[str],
    pins: Sequence[Pin],
    folder: Path,
    runner: Runner,
    environment: dict[str, str] | None = None,
) -> None:
    """Run ``pip download`` or ``pip wheel`` for ``pins``; files end in ``folder/done``.

    Tries again when the network failed.

    Args:
        argv: the command, without what to get and where to.
        pins: what to get.
        folder: a folder of this job's own.
        runner: runs it.
        environment: further environment variables.

    Raises:
        BundleError: what pip could not do, with its last lines.
    """
    done, scratch = folder / "done", folder / "tmp"
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(pin.line() + "\n" for pin in pins))
    goal = "--wheel-dir" if "wheel" in argv else "--dest"
    names = ", ".join(pin.name for pin in pins[:3]) + (" and others" if len(pins) > 3 else "")
    for attempt in range(1, _ATTEMPTS + 1):
        scratch.mkdir(exist_ok=True)
        env = pip_environment() | {"TMPDIR": str(scratch)} | (environment or {})
        code, output = runner.run([*argv, goal, str(done), "-r", str(requirements)], env=env)
        if code == 0:
            return
        if _MISMATCH in output:
            raise BundleError(
                f"a file of {names} does not have its pinned checksum; it was not kept",
                hint="run the same command again; if it stays so, the index serves a changed file",
                details=[s.strip() for s in output.splitlines() if "sha256" in s or "Got" in s],
            )
        if attempt == _ATTEMPTS or not is_unreachable(output):
            raise client_error(f"download {names}", output)
        time.sleep(2 * attempt)


def run_jobs(jobs: Sequence[Job], scratch: Path, *, show: bool, doing: str = "downloading") -> None:
    """Do all jobs, several at once; the first failure ends the others.

    Args:
        jobs: the jobs, the longest first.
        scratch: an empty folder for their unfinished work.
        show: show a bar on a terminal, a line per finished job elsewhere.
        doing: what the bar says.
    """
    runner = Runner()
    for number, job in enumerate(jobs):
        job.folder = scratch / str(number)
        job.folder.mkdir()
    total, files = sum(job.size for job in jobs), sum(job.count for job in jobs)
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        with console.progress(transfer=True) as bars:
            bar = bars.add_task(doing, total=total or None, visible=show)
            pending = {pool.submit(job.work, job.folder, runner): job for job in jobs}
            count = 0
            while pending:
                ended, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in ended:
                    job = pending.pop(future)
                    future.result()
                    count += job.count
                    if show and not console.is_interactive():
                        size = f" ({human(job.size)})" if job.size else ""
                        console.note(f"  {count}/{files} {job.title}{size}")
                waiting = sum(job.size for job in pending.values())
                partial = sum(min(_growth(j.folder), j.size) for j in pending.values() if j.size)
                bars.update(bar, completed=total - waiting + partial)
    finally:
        runner.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _growth(folder: Path) -> int:
    """Return the bytes below ``folder``, which changes while it is read (os.walk forgives)."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += Path(parent, name).lstat().st_size
    return size
