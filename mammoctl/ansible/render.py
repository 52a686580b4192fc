"""Show a playbook while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mammoctl import console
from mammoctl.ansible.events import STATUSES, Event, Run
from mammoctl.inventory import Cluster

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {
    "ok": "green",
    "changed": "yellow",
    "failed": "bold red",
    "unreachable": "bold red",
    "skipped": "dim",
}


@contextmanager
def renderer(run: Run, title: str, cluster: Cluster) -> Iterator[Callable[[Event], None]]:
    """Yield what to call after each event has been added to ``run``."""
    if console.is_interactive():
        with _live(run, title, cluster) as show:
            yield show
    else:
        lines = PlainLines(run)
        console.step(f"{title} on {', '.join(cluster.hosts)}")
        yield lines.show
        lines.finish()


class PlainLines:
    """One line per role when it starts and ends, per change, failure and long wait."""

    def __init__(self, run: Run, say: Callable[[str], None] = console.note) -> None:
        self.run = run
        self.say = say
        self.group = ""
        self.began = 0.0
        self.changes = 0

    def show(self, event: Event) -> None:
        """Say what an event means, if it is worth a line."""
        kind, run = event.kind, self.run
        if kind == "task_start" and run.current.group != self.group:
            self._end(event.time)
            if not event.data.get("preliminary"):
                self.group, self.began, self.changes = run.current.group, event.time, 0
                self.say(f"{self.group}:")
        elif kind == "changed":
            self.changes += 1
            self.say(f"  changed: [{event.host}] {run.task(event).name}")
        elif kind in ("ok", "skipped"):
            if console.is_verbose():
                self.say(f"  {kind}: [{event.host}] {run.task(event).name}")
        elif kind in ("failed", "unreachable") and not event.data.get("ignored"):
            message = str(event.data.get("message", "")).partition("\n")[0]
            self.say(f"  {kind}: [{event.host}] {run.task(event).name}: {message}")
        elif kind == "retry":
            attempt, retries = event.data.get("attempt"), event.data.get("retries")
            self.say(f"  waiting: [{event.host}] {run.task(event).name} ({attempt}/{retries})")
        elif kind == "diff":
            self.say(_diff(run, event))
        elif kind == "warning":
            self.say(f"  warning: {_warning(event)}")
        elif kind == "stats":
            self._end(event.time)

    def finish(self) -> None:
        """End the last role when the run broke off."""
        self._end(time.time())

    def _end(self, now: float) -> None:
        if self.group:
            self.say(f"  {self.group}: {now - self.began:.1f} s, {self.changes} changed")
            self.group = ""


def _diff(run: Run, event: Event) -> str:
    text = str(event.data.get("text", "")).rstrip()
    return f"[{event.host}] {run.task(event)}\n{text}"


def _warning(event: Event) -> str:
    return f"[{event.host}] {event.data.get('text', '')}"


@contextmanager
def _live(run: Run, title: str, cluster: Cluster) -> Iterator[Callable[[Event], None]]:
    from rich.live import Live

    began = time.monotonic()

    def view() -> RenderableType:
        return live_view(run, title, list(cluster.hosts), time.monotonic() - began)

    with Live(
        get_renderable=view, console=console.err, refresh_per_second=8, transient=True
    ) as live:
        finished: set[str] = set()

        def show(event: Event) -> None:
            if event.kind == "diff":
                live.console.print(_diff(run, event), markup=False)
            if event.kind == "warning":
                text = _plain(_warning(event))
                live.console.print(f"  [bold yellow]warning:[/] {text}")
            for group in list(run.groups):
                over = group != run.current.group or event.kind == "stats"
                if over and group not in finished and event.kind in ("task_start", "stats"):
                    finished.add(group)
                    live.console.print(
                        f"  [green]done[/] {_plain(group)} [dim]{run.groups[group]:.1f} s[/]"
                    )

        yield show


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def live_view(run: Run, title: str, hosts: list[str], seconds: float) -> RenderableType:
    """Return the table of the moment: the current role and task, and each host's counts."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    head = Text.assemble(
        (f"{title} ", "bold"),
        (f"{seconds:4.0f} s  ", "dim"),
        (run.current.group or "starting Ansible", "cyan"),
        (f" {run.group_seconds():.0f} s  " if run.current.group else "", "dim"),
        run.current.name,
    )
    head.truncate(console.err.width - 1, overflow="ellipsis")
    grid = Table.grid(padding=(0, 2))
    for host in hosts:
        stats = run.hosts.get(host)
        now = run.last.get(host, "")
        counts = [
            Text(f"{getattr(stats, status)} {status}", style=_STYLES[status])
            if stats and getattr(stats, status)
            else Text("")
            for status in STATUSES
        ]
        grid.add_row(Text(f"  {host}"), *counts, Text(now or "...", style=_STYLES.get(now, "cyan")))
    return Group(head, grid)
