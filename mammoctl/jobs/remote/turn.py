"""The part of a job that waits on the master until the cluster has room for it.

Shipped beside the agent and run by the system's Python as it is (3.9 or later, nothing installed).
Jobs begin in the order in which they came; the Spark master says what is free. One begins at a
time: what it takes shows there only once its executors have been granted.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SETTLE_S = 120.0
"""Seconds after which a job that began counts as having all the executors that it will get."""

_PROXIES: Mapping[str, str] = {}

Document = Mapping[str, Any]


def why_not(
    mine: Document,
    needs: Document,
    others: Iterable[Document],
    page: Document,
    *,
    free_mb: int,
    now: float,
) -> str | None:
    """Return why a job cannot begin now, or None when it can.

    Args:
        mine: the job's record.
        needs: ``executors``, and ``cores`` and ``memory_mb`` of each; ``driver_mb``.
        others: records of the jobs that are queued or running.
        page: the Spark master's ``/json/``.
        free_mb: MiB of the master's memory that are available.
        now: seconds since the epoch.
    """
    others = list(others)
    before = [job for job in others if job["state"] == "queued" and _place(job) < _place(mine)]
    if before:
        first = min(before, key=_place)["id"]
        more = f" and {len(before) - 1} more" if before[1:] else ""
        return f"{first}{more} came first"
    running = [job for job in others if job["state"] == "running"]
    apps = [*page.get("activeapps", []), *page.get("completedapps", [])]
    starting = [job["id"] for job in running if not _settled(job, apps, now)]
    if starting:
        return f"{starting[0]} is just starting"
    if running and free_mb < needs["driver_mb"]:
        return (
            f"its driver needs {needs['driver_mb']} MiB on the master, {free_mb} are free"
            f" ({', '.join(sorted(job['id'] for job in running))} at work)"
        )
    return _no_room(needs, page)


def _no_room(needs: Document, page: Document) -> str | None:
    alive = [worker for worker in page.get("workers", []) if worker.get("state") == "ALIVE"]
    if not alive:
        return "no worker is up"
    size = f"{needs['cores']} cores and {needs['memory_mb']} MiB"
    possible = min(needs["executors"], sum(_fits(worker, needs, empty=True) for worker in alive))
    if not possible:
        return f"no worker that is up has {size} for an executor"
    room = sum(_fits(worker, needs, empty=False) for worker in alive)
    if room < possible:
        return f"it needs {possible} x {size}, there is room for {room}{_users(page)}"
    return None


def _place(job: Document) -> tuple[float, str]:
    return float(job.get("queued_at") or 0), str(job["id"])


def _settled(job: Document, apps: Iterable[Document], now: float) -> bool:
    begun = float(job.get("started_at") or 0)
    if now - begun > SETTLE_S:
        return True
    return any(float(app.get("starttime") or 0) / 1000 >= begun - 1 for app in apps)


def _fits(worker: Document, needs: Document, *, empty: bool) -> int:
    """Return how many of the job's executors fit on a worker."""
    cores, memory = int(worker.get("cores", 0)), int(worker.get("memory", 0))
    if not empty:
        cores -= int(worker.get("coresused", 0))
        memory -= int(worker.get("memoryused", 0))
    return max(0, min(cores // int(needs["cores"]), memory // int(needs["memory_mb"])))


def _users(page: Document) -> str:
    apps = [app for app in page.get("activeapps", []) if int(app.get("cores") or 0)]
    return "".join(f"; {app.get('name')} uses {app['cores']} cores" for app in apps)


def ask(page: str) -> Document:
    """Return the Spark master's ``/json/``.

    Raises:
        OSError: it does not answer.
        ValueError: not with JSON.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(dict(_PROXIES)))
    with opener.open(page, timeout=5) as answer:
        found: Document = json.loads(answer.read())
    return found


def available_mb(meminfo: str) -> int:
    """Return MemAvailable of a ``/proc/meminfo`` in MiB."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def memory() -> int:
    """Return the MiB of this machine's memory that are available."""
    return available_mb(Path("/proc/meminfo").read_text())
