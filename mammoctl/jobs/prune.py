"""Remove what ended jobs have left on the cluster."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mammoctl.data.storage import Storage
from mammoctl.errors import UsageError
from mammoctl.jobs.job import JOBS_ROOT, job_folder
from mammoctl.jobs.known import list_jobs
from mammoctl.jobs.remote.records import ENDED
from mammoctl.jobs.script import checkpoints

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that may go: its state, when it ended (seconds since 1970), its bytes on the master."""

    job: str
    state: str
    ended_at: float
    size: int


def seconds(age: str) -> float:
    """Return the seconds of an age such as ``12h``, ``30d`` or ``8w``.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"(\d+)\s*([mhdw])", age.strip().lower())
    if not match:
        raise UsageError(f"{age!r} is no age", hint="write it as 12h, 30d or 8w")
    return float(int(match[1]) * _UNITS[match[2]])


def candidates(nodes: Nodes, age: float, keep: int, *, now: float | None = None) -> list[Candidate]:
    """Return the jobs that ended longer than ``age`` seconds ago, without the newest ``keep``."""
    jobs = list_jobs(nodes)
    now = time.time() if now is None else now
    sizes = _sizes(nodes)
    found = []
    for item in jobs[: max(0, len(jobs) - keep)]:
        state, job = item["state"], str(item["spec"]["id"])
        # nobody saw the end of a lost one
        ended = float(state.get("finished_at") or state.get("submitted_at") or 0)
        if state["state"] in ENDED and now - ended >= age:
            found.append(Candidate(job, state["state"], ended, sizes.get(job, 0)))
    return found


def _sizes(nodes: Nodes) -> dict[str, int]:
    line = f"du -sk {JOBS_ROOT}/* 2>/dev/null"
    output = nodes.run(nodes.cluster.master, line, sudo=True, check=False).stdout
    rows = (line.split("\t", 1) for line in output.splitlines() if "\t" in line)
    return {path.rpartition("/")[2]: int(kib) * 1024 for kib, path in rows}


def remove(nodes: Nodes, deployment: ClusterFile, jobs: Sequence[str]) -> None:
    """Remove jobs: what is on the storage first, so that a failure leaves them listed."""
    folders = " ".join(shlex.quote(job_folder(job)) for job in jobs)
    storage, results = Storage(nodes, deployment), deployment.paths.results
    uris = [f"{results}/{job}" for job in jobs] + [checkpoints(deployment, job) for job in jobs]
    storage.change(*[("remove", uri) for uri in uris])
    nodes.run(nodes.cluster.master, f"rm -rf -- {folders}", sudo=True)
