"""Follow a job on the master, over connections that may break."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mammoctl.errors import ConnectionFailed, JobError, RemoteError
from mammoctl.jobs.account import account
from mammoctl.jobs.spec import SYSTEM_PYTHON, job_folder

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

SILENCE = 30.0
"""Seconds without a sign of life after which a connection counts as broken."""

GIVE_UP = 600.0
"""Seconds of vain attempts to reconnect."""

_LONGEST_PAUSE = 15.0


def events(
    nodes: Nodes,
    job: str,
    *,
    on_trouble: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Yield a job's progress events from its beginning, and at last ``{"end": state}``.

    Reconnects by itself and goes on where it stopped: each event comes once.

    Args:
        nodes: connections to the job's cluster.
        job: id of the job.
        on_trouble: is told when the connection is lost and when it is back.
        sleep: waits a number of seconds.

    Raises:
        JobError: the master could not be reached again for ten minutes, or knows no such job.
    """
    offset, pause, lost_at = 0, 1.0, None
    while True:
        try:
            for item in _connection(nodes, job, offset):
                if lost_at is not None:
                    on_trouble("connected again")
                    lost_at, pause = None, 1.0
                if "end" in item:
                    yield item
                    return
                if "event" in item:
                    offset = item["offset"]
                    yield item["event"]
            raise ConnectionFailed("the connection to the master ended")
        except ConnectionFailed as exc:
            now = time.monotonic()
            if lost_at is None:
                lost_at = now
                on_trouble(f"{exc.message}; the job goes on there, connecting again")
            elif now - lost_at > GIVE_UP:
                raise JobError(
                    f"cannot reach the master again: {exc.message}",
                    hint=f"the job goes on there; follow it with `mammoctl jobs attach {job}`",
                ) from exc
        except RemoteError as exc:
            raise JobError(
                f"cannot follow the job {job}: {exc.message}",
                hint="`mammoctl jobs list` shows the jobs of the cluster",
                details=exc.details,
            ) from exc
        sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _connection(nodes: Nodes, job: str, offset: int) -> Iterator[dict[str, Any]]:
    folder = job_folder(job)
    argv = [SYSTEM_PYTHON, f"{folder}/agent.py", "follow", folder, str(offset)]
    with _watched(nodes) as alive:
        lines = nodes.follow(nodes.cluster.master.name, argv, sudo=account(nodes))
        try:
            for line in lines:
                alive()
                try:
                    item = json.loads(line)
                except ValueError:
                    continue
                if isinstance(item, dict):
                    yield item
        finally:
            if close := getattr(lines, "close", None):
                close()


@contextmanager
def _watched(nodes: Nodes) -> Iterator[Callable[[], None]]:
    """Close the connection when it has been silent for too long; reading then fails."""
    seen = time.monotonic()
    stop = threading.Event()

    def alive() -> None:
        nonlocal seen
        seen = time.monotonic()

    def watch() -> None:
        while not stop.wait(2):
            if time.monotonic() - seen > SILENCE:
                nodes.close()
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield alive
    finally:
        stop.set()
