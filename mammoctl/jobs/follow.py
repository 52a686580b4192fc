"""Follow a job on the master, over connections that may break."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mammoctl.errors import ConnectionFailed, JobError, RemoteError
from mammoctl.jobs.account import account
from mammoctl.jobs.known import agent_argv

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

SILENCE = 30.0
"""Seconds without a sign of life after which a connection counts as broken."""

GIVE_UP = 600.0
"""Seconds of vain attempts to reconnect."""

_LONGEST_PAUSE = 15.0


@dataclass
class Position:
    """How far a job has been seen: bytes of its progress file, and of its log.

    `log` None leaves the log out; a negative number means its last so many lines.
    """

    progress: int = 0
    log: int | None = None


def events(
    nodes: Nodes,
    job: str,
    *,
    position: Position | None = None,
    on_trouble: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    give_up: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield a job's progress events from its beginning, and at last ``{"end": state}``.

    Reconnects by itself and goes on where it stopped: each event comes once. Where the log is
    asked for, its lines come as ``{"event": "log", "text": LINES}``.

    Args:
        nodes: connections to the job's cluster.
        job: id of the job.
        position: where to begin; moves along.
        on_trouble: is told when the connection is lost and when it is back.
        sleep: waits a number of seconds.
        give_up: seconds of vain attempts to reconnect; `GIVE_UP` unless given.

    Raises:
        JobError: the master could not be reached again in time, or knows no such job.
    """
    position = position or Position()
    longest = GIVE_UP if give_up is None else give_up
    pause, lost_at = 1.0, None
    while True:
        try:
            for item in _connection(nodes, job, position):
                if lost_at is not None:
                    on_trouble("connected again")
                    lost_at, pause = None, 1.0
                if "end" in item:
                    yield item
                    return
                if "event" in item:
                    position.progress = item["offset"]
                    yield item["event"]
                elif "log" in item:
                    position.log = item["log_offset"]
                    yield {"event": "log", "text": item["log"]}
            raise ConnectionFailed("the connection to the master ended")
        except ConnectionFailed as exc:
            now = time.monotonic()
            if lost_at is None:
                lost_at = now
                on_trouble(f"{exc.message}; the job goes on there, connecting again")
            elif now - lost_at > longest:
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


def _connection(nodes: Nodes, job: str, position: Position) -> Iterator[dict[str, Any]]:
    argv = agent_argv(job, "follow", str(position.progress))
    if position.log is not None:
        argv.append(f"--log={position.log}")
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
