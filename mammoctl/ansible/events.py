"""What a playbook run reports, typed, and what it adds up to.

The lines come from ``playbooks/plugins/callback/mammoctl_events.py``. Lines of a newer version and
events that are not known here are passed over: an older command line still shows the rest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

VERSION = 1

Status = Literal["ok", "changed", "failed", "skipped", "unreachable"]
STATUSES: tuple[Status, ...] = ("ok", "changed", "failed", "skipped", "unreachable")


@dataclass(frozen=True)
class Event:
    """One line of the stream; ``data`` holds what is particular to its kind.

    Attributes:
        kind: ``play_start``, ``task_start``, a `Status`, ``item``, ``retry``, ``diff``,
            ``changes``, ``warning``, ``stats``.
        time: unix seconds.
        host: the host it is about, or an empty string.
        task: the key of the task it is about, or an empty string.
    """

    kind: str
    time: float
    host: str = ""
    task: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def parse(line: str | bytes) -> Event | None:
    """Read one line of the stream; None for what is not an event of the known version."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("v") != VERSION:
        return None
    kind, when = value.get("event"), value.get("t")
    if not isinstance(kind, str) or not isinstance(when, (int, float)):
        return None
    known = {"v", "t", "event", "host", "task"}
    rest = {key: item for key, item in value.items() if key not in known}
    return Event(
        kind, float(when), str(value.get("host") or ""), str(value.get("task") or ""), rest
    )


@dataclass(frozen=True)
class Task:
    """A task: its name, where it is written, and its group for display.

    The group is the role; or the play, for tasks outside roles and for plays that only borrow
    single files of roles.
    """

    name: str
    role: str
    group: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.role} : {self.name}" if self.role else self.name


@dataclass(frozen=True)
class TaskFailure:
    """A task that failed on a host and was not ignored."""

    host: str
    task: Task
    message: str
    unreachable: bool = False


@dataclass(frozen=True)
class Change:
    """One thing that a run changed on a host, or in check mode would change.

    Attributes:
        group: role or play that it belongs to.
        kind: ``package file user group service gpu artifact removal``; or ``step``, for a task that
            does not tell more than its name.
        name: of the package, the file's path, the unit, the number of artifacts, the task.
        what: what is done: ``install create change remove``, ``enable, restart``, ``send BYTES``.
    """

    host: str
    group: str
    kind: str
    name: str
    what: str


@dataclass
class HostStats:
    """How many tasks came out how on one host."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0
    unreachable: int = 0


_NO_TASK = Task("", "", "")


@dataclass
class Run:
    """What has happened so far; feed it events with `add`.

    Attributes:
        hosts: counts per host.
        changed: (host, task) for every change.
        changes: the same in detail.
        diffs: (host, task, text) of changed files, where they were asked for.
        failures: every failure that was not ignored, with those that a rescue handled later
        (see `lasting_failures`).
        warnings: (host, text) of what roles warned of.
        groups: seconds per role (or play, outside roles), in order of first appearance; without
        those of which nothing but the check of their arguments ran.
        current: the task that runs now.
        last: what came of the current task on each host that has reported.
    """

    hosts: dict[str, HostStats] = field(default_factory=dict)
    changed: list[tuple[str, Task]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    diffs: list[tuple[str, Task, str]] = field(default_factory=list)
    failures: list[TaskFailure] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    groups: dict[str, float] = field(default_factory=dict)
    current: Task = _NO_TASK
    play: str = ""
    last: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    complete: bool = False
    _tasks: dict[str, Task] = field(default_factory=dict)
    _items: dict[tuple[str, str], str] = field(default_factory=dict)
    _detailed: set[tuple[str, str]] = field(default_factory=set)
    _by_role: bool = True
    _group_began: float = 0.0
    _began: float = 0.0

    def task(self, event: Event) -> Task:
        """Return the task that an event is about."""
        return self._tasks.get(event.task, _NO_TASK)

    def add(self, event: Event) -> None:
        """Take one event into account."""
        self._began = self._began or event.time
        self.seconds = event.time - self._began
        if event.kind == "play_start":
            self._close_group(event.time)
            self.play = str(event.data.get("play", ""))
            self._by_role = bool(event.data.get("roles", True))
        elif event.kind == "task_start":
            self._start(event)
        elif event.kind in STATUSES:
            self._outcome(event)
        elif event.kind == "warning":
            self.warnings.append((event.host, str(event.data.get("text", ""))))
        elif event.kind == "changes":
            self._details(event)
        elif event.kind == "diff":
            self.diffs.append((event.host, self.task(event), str(event.data.get("text", ""))))
        elif event.kind == "item" and event.data.get("status") == "failed":
            self._items[event.host, event.task] = str(event.data.get("label", ""))
        elif event.kind == "stats":
            self._close_group(event.time)
            self._totals(event)

    def lasting_failures(self) -> list[TaskFailure]:
        """Return what ended the run, per host: its last failure, which no rescue handled."""
        last = {failure.host: failure for failure in self.failures}
        return [
            failure
            for host, failure in last.items()
            if not self.complete or self.hosts[host].failed or self.hosts[host].unreachable
        ]

    def group_seconds(self, now: float | None = None) -> float:
        """Seconds that the current role has been running for."""
        if not self._group_began:
            return 0.0
        spent = self.groups.get(self.current.group, 0.0)
        return spent + (now if now is not None else time.time()) - self._group_began

    def _start(self, event: Event) -> None:
        data = event.data
        role = str(data.get("role", ""))
        group = role if role and self._by_role else self.play
        task = Task(str(data.get("name", "")), role, group, str(data.get("path", "")))
        self._tasks[event.task] = task
        if task.group != self.current.group or not self._group_began:
            self._close_group(event.time)
            if not data.get("preliminary"):
                self._group_began = event.time
                self.groups.setdefault(task.group, 0.0)
        self.current = task
        self.last.clear()

    def _close_group(self, now: float) -> None:
        if self._group_began:
            group = self.current.group
            self.groups[group] = self.groups.get(group, 0.0) + now - self._group_began
            self._group_began = 0.0

    def _outcome(self, event: Event) -> None:
        stats = self.hosts.setdefault(event.host, HostStats())
        task = self.task(event)
        self.last[event.host] = event.kind
        if event.kind == "failed" and event.data.get("ignored"):
            stats.ok += 1
            return
        setattr(stats, event.kind, getattr(stats, event.kind) + 1)
        if event.kind == "changed":
            self.changed.append((event.host, task))
            if (event.host, event.task) not in self._detailed:
                self.changes.append(Change(event.host, task.group, "step", task.name, "run"))
        elif event.kind in ("failed", "unreachable"):
            message = str(event.data.get("message", "")).strip()
            if label := self._items.get((event.host, event.task)):
                message = f"item {label}: {message}"
            unreachable = event.kind == "unreachable"
            self.failures.append(TaskFailure(event.host, task, message, unreachable))

    def _details(self, event: Event) -> None:
        group = self.task(event).group
        parts = event.data.get("changes")
        for part in parts if isinstance(parts, list) else []:
            if isinstance(part, list) and len(part) == 3:
                kind, name, what = map(str, part)
                self.changes.append(Change(event.host, group, kind, name, what))
                self._detailed.add((event.host, event.task))

    def _totals(self, event: Event) -> None:
        """Ansible's own totals count: a rescued failure is none."""
        self.complete = True
        totals = event.data.get("hosts")
        if not isinstance(totals, dict):
            return
        for host, counts in totals.items():
            if isinstance(counts, dict):
                self.hosts.setdefault(host, HostStats()).failed = int(counts.get("failures", 0))
