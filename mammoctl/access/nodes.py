"""Who is let in where: our lines in the nodes' ``authorized_keys``, on all nodes at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl.access import keys
from mammoctl.errors import MammoctlError, RemoteError
from mammoctl.jobs.job import SYSTEM_PYTHON

if TYPE_CHECKING:
    from mammoctl.inventory import Host
    from mammoctl.ssh import Nodes


class NotEverywhere(MammoctlError):
    """Some nodes could not be reached; the same command goes on with them."""


@dataclass
class Access:
    """One operator's access.

    Attributes:
        name: whose.
        keys: fingerprint -> kind; more than one where nodes differ.
        blobs: fingerprint -> the key itself, as base64.
        since: when it was granted first, in seconds since 1970.
        by: who granted it.
        nodes: where it is.
    """

    name: str
    keys: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)
    since: int = 0
    by: str = ""
    nodes: list[str] = field(default_factory=list)


@dataclass
class Seen:
    """What the nodes said.

    Attributes:
        access: by name of the operator.
        changed: nodes on which something was changed.
        failed: by node: why it could not be asked.
        strangers: nodes that let the key in by a line that is not ours, too.
    """

    access: dict[str, Access] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    failed: dict[str, MammoctlError] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)


def ask(nodes: Nodes, action: str, **request: str) -> Seen:
    """Have every node do an action of `mammoctl.access.on_node`, and return what all said."""
    program = Path(__file__).with_name("on_node.py").read_text(encoding="utf-8")
    argv = [SYSTEM_PYTHON, "-", json.dumps({"action": action, **request})]

    def one(host: Host) -> dict[str, Any]:
        said = nodes.run(host, argv, input=program, timeout=60)
        try:
            value: dict[str, Any] = json.loads(said.stdout)
        except ValueError as exc:
            raise RemoteError(
                f"{host.name}: its answer is not understood: {said.stdout[:200]!r}",
                hint=f"mammoctl ssh {host.name}: does the login's shell print something by itself?",
            ) from exc
        return value

    return gathered(nodes.each(one))


def gathered(said: Mapping[str, dict[str, Any] | MammoctlError]) -> Seen:
    """Return the answers of all nodes as one (pure)."""
    seen = Seen()
    for node, answer in said.items():
        if isinstance(answer, MammoctlError):
            seen.failed[node] = answer
            continue
        if answer["changed"]:
            seen.changed.append(node)
        if answer["strangers"]:
            seen.strangers.append(node)
        for entry in answer["entries"]:
            one = seen.access.setdefault(entry["name"], Access(entry["name"]))
            mark = keys.fingerprint(entry["blob"])
            one.keys[mark] = entry["kind"]
            one.blobs[mark] = entry["blob"]
            if node not in one.nodes:
                one.nodes.append(node)
            if not one.since or int(entry["since"]) < one.since:
                one.since, one.by = int(entry["since"]), entry["by"]
    return seen


def require_all(seen: Seen, what: str, again: str) -> None:
    """Tell which nodes are left.

    Raises:
        NotEverywhere: there are such.
    """
    if seen.failed:
        raise NotEverywhere(
            f"{what} is still to be done on {', '.join(seen.failed)}",
            details=[line for e in seen.failed.values() for line in (e.message, e.hint) if line],
            hint=f"when they answer: {again}",
        )
