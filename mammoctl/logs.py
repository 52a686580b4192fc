"""The journals of a cluster's services, all nodes merged by time."""

from __future__ import annotations

import difflib
import heapq
import json
import queue
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mammoctl.errors import MammoctlError, RemoteError, UsageError
from mammoctl.status.node import UNITS

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes, live

PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_FIELDS = "MESSAGE,UNIT,_SYSTEMD_UNIT,PRIORITY"
_HOLD_S = 0.3
"""Seconds that a line waits for earlier ones of other nodes."""

_LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True)
class Line:
    """One entry of a journal; sorts by time.

    Attributes:
        time: seconds since 1970, by the node's clock.
        priority: 0 (emergency) to 7 (debug), as for syslog.
        cursor: where it stands in its node's journal.
    """

    time: float
    node: str
    service: str
    priority: int
    message: str
    cursor: str = ""

    def __lt__(self, other: Line) -> bool:
        return self.time < other.time

    def as_json(self) -> dict[str, Any]:
        """Return the entry as plain values, for ``--json``."""
        return {
            "schema": 1,
            "time": self.time,
            "node": self.node,
            "service": self.service,
            "priority": self.priority,
            "message": self.message,
        }


@dataclass(frozen=True)
class Question:
    """Which entries are meant.

    Attributes:
        units: of systemd.
        lines: how many of the newest, None for all.
        since: a time as ``journalctl --since`` takes it, or an empty string; so for ``until``.
        priority: that and graver ones.
        grep: a pattern that messages must match.
    """

    units: tuple[str, ...]
    lines: int | None = 100
    since: str = ""
    until: str = ""
    priority: str = ""
    grep: str = ""

    def argv(self, *, follow: bool = False, cursor: str = "") -> list[str]:
        """Return the command for a node; with ``cursor`` for what came after it."""
        line = ["journalctl", "--quiet", "--no-pager", "--output=json"]
        line += [f"--output-fields={_FIELDS}", *(f"--unit={unit}" for unit in self.units)]
        if self.priority:
            line.append(f"--priority={self.priority}")
        if self.grep:
            line.append(f"--grep={self.grep}")
        if cursor:
            line.append(f"--after-cursor={cursor}")
        elif follow and self.lines == 0:
            # Not --lines=0: where nothing matches yet, that waits behind the end for ever.
            line.append("--since=now")
        elif self.since:
            line.append(f"--since={self.since}")
        if self.until:
            line.append(f"--until={self.until}")
        if not follow:
            return line if self.lines is None else [*line, f"--lines={self.lines}"]
        # What was asked for before came to nothing: all that matches is new.
        return [*line, "--follow", "--no-tail"]


def units(names: Sequence[str]) -> tuple[str, ...]:
    """Return the units of services; none for all of the cluster's.

    Raises:
        UsageError: there is no such service. Other units are named with their suffix.
    """
    found = []
    for name in names or UNITS:
        if name not in UNITS and "." not in name:
            near = difflib.get_close_matches(name, UNITS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"a cluster has {', '.join(UNITS)}"
            raise UsageError(f"no service {name}", hint=f"{hint} (other units: {name}.service)")
        found.append(name if "." in name else f"{name}.service")
    return tuple(found)


def parse(node: str, text: str) -> Line | None:
    """Read one entry as ``journalctl --output=json`` writes it; None for anything else."""
    try:
        entry = json.loads(text)
        when = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError, TypeError):
        return None
    unit = _text(entry.get("UNIT")) or _text(entry.get("_SYSTEMD_UNIT"))
    priority = _text(entry.get("PRIORITY"))
    return Line(
        when,
        node,
        unit.removesuffix(".service"),
        int(priority) if priority.isdigit() else 6,
        _text(entry.get("MESSAGE")),
        _text(entry.get("__CURSOR")),
    )


def _text(value: Any) -> str:
    """Return a field as text; what is not UTF-8 comes as numbers, what is too long as null."""
    if isinstance(value, list):
        if all(isinstance(part, int) for part in value):
            return bytes(value).decode(errors="replace")
        return _text(value[-1] if value else "")
    return "" if value is None else str(value)


def plain(message: str) -> str:
    """Return a message without signs that would steer a terminal."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "�", message)


def read(
    nodes: Nodes, names: Sequence[str], question: Question
) -> tuple[list[Line], dict[str, MammoctlError]]:
    """Return what the journals of nodes have, in the order of time, and who did not answer."""
    from mammoctl.ssh import live

    found: list[Line] = []
    failed: dict[str, MammoctlError] = {}
    for name, out in live.run(nodes, names, question.argv(), sudo=True, timeout=120).items():
        if isinstance(out, MammoctlError):
            failed[name] = out
        elif out.rc and out.stderr.strip():  # status 1 without a word: nothing matches
            failed[name] = RemoteError(
                f"{name}: journalctl ended with status {out.rc}",
                details=out.stderr.strip().splitlines()[-3:],
            )
        else:
            lines = (parse(name, text) for text in out.stdout.splitlines())
            found += [line for line in lines if line]
    found.sort()
    if question.lines is not None:
        found = found[len(found) - question.lines :] if question.lines < len(found) else found
    return found, failed


def follow(
    nodes: Nodes,
    names: Sequence[str],
    question: Question,
    *,
    after: Iterable[Line] = (),
    on_trouble: Callable[[str], None] = lambda _: None,
) -> Generator[Line]:
    """Yield what comes from now on, in the order of time as far as clocks agree, until closed.

    A connection that breaks is made again, and nothing is lost meanwhile.

    Args:
        nodes: the way to them.
        names: which.
        question: which entries.
        after: what `read` has returned; only later ones are yielded.
        on_trouble: is told when a node is lost and when it is back.
    """
    from mammoctl.ssh import live

    cursors = {line.node: line.cursor for line in after}
    running = live.Running()
    heard: queue.SimpleQueue[Line | str] = queue.SimpleQueue()
    for name in names:
        thread = threading.Thread(
            target=_listen,
            args=(nodes, name, question, cursors.get(name, ""), heard),
            kwargs={"running": running},
            daemon=True,
        )
        thread.start()
    try:
        yield from _ordered(heard, on_trouble)
    finally:
        running.end()


def _ordered(
    heard: queue.SimpleQueue[Line | str], on_trouble: Callable[[str], None]
) -> Iterator[Line]:
    waiting: list[tuple[Line, float]] = []
    while True:
        try:
            item = heard.get(timeout=_HOLD_S / 2)
            if isinstance(item, str):
                on_trouble(item)
            else:
                heapq.heappush(waiting, (item, time.monotonic()))
        except queue.Empty:
            pass
        now = time.monotonic()
        while waiting and now - waiting[0][1] > _HOLD_S:
            yield heapq.heappop(waiting)[0]


def _listen(
    nodes: Nodes,
    name: str,
    question: Question,
    cursor: str,
    heard: queue.SimpleQueue[Line | str],
    *,
    running: live.Running,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Pass on a node's entries, over as many connections as it takes, until they are ended."""
    from mammoctl.ssh import live

    began, pause, lost = time.monotonic(), 1.0, False

    def line(_name: str, is_error: bool, text: str) -> None:
        nonlocal cursor, pause, lost
        if not is_error and (found := parse(name, text)):
            cursor = found.cursor
            heard.put(found)
            if lost:
                heard.put(f"{name}: connected again")
            pause, lost = 1.0, False

    while True:
        argv = question.argv(follow=True, cursor=cursor)
        out = live.run(nodes, [name], argv, sudo=True, heard=line, keep=False, running=running)[
            name
        ]
        if running.over:
            return
        if not lost:
            why = out.message if isinstance(out, MammoctlError) else "journalctl ended there"
            heard.put(f"{name}: {why}; connecting again")
            lost = True
        sleep(pause)
        if not cursor:  # nothing has come yet: what did since the beginning is new
            ago = int(time.monotonic() - began) + 1
            question = replace(question, lines=None, since=f"-{ago}s")
        pause = min(2 * pause, _LONGEST_PAUSE_S)
