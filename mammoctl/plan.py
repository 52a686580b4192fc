"""What a run of a playbook would change on each host, in the words of who owns the hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mammoctl.ansible.events import Change
    from mammoctl.ansible.runner import PlaybookResult

_FILES = {
    "create": "new files",
    "change": "changed files",
    "remove": "removed files",
}


@dataclass(frozen=True)
class Plan:
    """What would change.

    Attributes:
        hosts: all of the cluster, in the inventory's order.
        changes: everything, in the order in which it would be done.
        diffs: hosts, task and text of changed files; hosts where the text is the same are together.
        log: the full output of the check.
        seconds: that it took.
    """

    hosts: list[str]
    changes: list[Change]
    diffs: list[tuple[list[str], str, str]]
    log: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values, for ``--json``."""
        return {
            "hosts": self.hosts,
            "changes": [
                {"host": c.host, "role": c.group, "kind": c.kind, "name": c.name, "what": c.what}
                for c in self.changes
            ],
            "diffs": [
                {"hosts": hosts, "task": task, "text": text} for hosts, task, text in self.diffs
            ],
            "seconds": round(self.seconds, 1),
            "log": self.log,
        }


def of(hosts: Iterable[str], result: PlaybookResult) -> Plan:
    """Return what a playbook in check mode has predicted."""
    texts: dict[tuple[str, str], list[str]] = {}
    for host, task, text in result.diffs:
        texts.setdefault((str(task), text), []).append(host)
    diffs = [(there, task, text) for (task, text), there in texts.items()]
    return Plan(list(hosts), result.changes, diffs, str(result.log), result.seconds)


def sections(changes: Iterable[Change]) -> list[tuple[str, str]]:
    """Return (title, text) for each kind of change on one host."""
    found: dict[str, list[str]] = {}

    def add(title: str, text: str) -> None:
        if text not in found.setdefault(title, []):
            found[title].append(text)

    sent = [0, 0]
    for change in changes:
        if change.kind == "package":
            add("packages", change.name)
        elif change.kind in ("user", "group"):
            add("accounts", change.name if change.kind == "user" else f"group {change.name}")
        elif change.kind == "file":
            add(_FILES.get(change.what, "files"), change.name)
        elif change.kind == "removal":
            add("removed", change.name)
        elif change.kind == "artifact":
            sent[0] += _number(change.name)
            sent[1] += _number(change.what.rpartition(" ")[2])
        elif change.kind == "service":
            add("services", f"{_last(change.what)} {change.name.removesuffix('.service')}")
        else:
            add("further", change.name)
    if sent[0]:
        add("to be sent", f"{sent[0]} artifacts, {sent[1] / 1e6:.0f} MB")
    order = ["packages", "accounts", "to be sent", *_FILES.values(), "files", "removed"]
    titles = [title for title in [*order, "further", "services"] if title in found]
    return [(title, ", ".join(found[title])) for title in titles]


def restarts(changes: Iterable[Change]) -> list[tuple[str, str]]:
    """Return (host, service) for what runs now and would be restarted or stopped."""
    return [
        (change.host, change.name.removesuffix(".service"))
        for change in changes
        if change.kind == "service" and _last(change.what) in ("restart", "stop", "disable")
    ]


def together(plan: Plan) -> list[tuple[list[str], list[tuple[str, str]]]]:
    """Return (hosts, sections); hosts with the same ones are told together."""
    found: list[tuple[list[str], list[tuple[str, str]]]] = []
    for host in plan.hosts:
        mine = sections(change for change in plan.changes if change.host == host)
        for hosts, known in found:
            if known == mine:
                hosts.append(host)
                break
        else:
            found.append(([host], mine))
    return found


def view(plan: Plan, indent: int = 2) -> RenderableType:
    """Return the plan as it is shown."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for hosts, mine in together(plan):
        parts.append(Text(", ".join(hosts), style="bold cyan"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for title, text in mine or [("nothing to change", "")]:
            style = "yellow" if title == "services" else ""
            grid.add_row(Text(title, style="dim"), Text(text, style=style))
        parts.append(Padding(grid, (0, 0, 1, indent)))
    for hosts, task, text in plan.diffs:
        parts += [Text(f"{', '.join(hosts)}: {task}", style="bold"), Text(text.rstrip() + "\n")]
    return Group(*parts)


def summary(plan: Plan) -> str:
    """Return the plan in a sentence."""
    if not plan.changes:
        return "nothing to change"
    hosts = {change.host for change in plan.changes}
    stopped = restarts(plan.changes)
    text = f"{_count(plan.changes, 'change')} on {_count(sorted(hosts), 'host')}"
    return text + (f", {_count(stopped, 'restart')} of services" if stopped else "")


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _last(actions: str) -> str:
    """Return what happens to a service: the last of ``enable, start``."""
    return actions.rpartition(", ")[2]


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
