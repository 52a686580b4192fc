"""Start and stop what a cluster runs, on all nodes or on some, and wait until it is so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from mammoctl import findings
from mammoctl.cluster import NotProvisioned
from mammoctl.errors import ConnectionFailed, MammoctlError
from mammoctl.jobs.remote.records import ALIVE
from mammoctl.status.judge import duties, services
from mammoctl.status.node import KEPT, NodeState

if TYPE_CHECKING:
    from mammoctl.ansible.runner import PlaybookResult
    from mammoctl.status.state import ClusterState

Action = Literal["start", "stop", "restart"]

WAIT_S = 300.0
"""Seconds until the services must be up; what the roles grant them."""

_PAUSE_S = 1.0


class NotSo(MammoctlError):
    """The services did not come into the state that was asked for."""


@dataclass
class Outcome:
    """What was done.

    Attributes:
        action: what was asked for.
        nodes: where.
        changed: by node: the services that were started or stopped.
        seconds: in all.
        after: the cluster afterwards.
    """

    action: Action
    nodes: list[str]
    seconds: float
    after: ClusterState
    changed: dict[str, list[str]] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as plain values, for ``--json``."""
        return {
            "schema": 1,
            "action": self.action,
            "cluster": self.after.cluster.name,
            "seconds": round(self.seconds, 1),
            "logs": self.logs,
            "nodes": [
                {"name": name, "changed": self.changed[name], "running": running(self.after, name)}
                for name in self.nodes
            ],
        }


def running(state: ClusterState, name: str) -> list[str]:
    """Return the services that run on a node; none where it does not answer."""
    seen = state.nodes[name]
    if not isinstance(seen, NodeState):
        return []
    return [unit for unit, found in seen.units.items() if found.active == "active"]


def work(state: ClusterState) -> list[str]:
    """Return what would be broken off by a stop: jobs, and applications that are no jobs."""
    jobs = [job.id for job in state.jobs or [] if job.state in ALIVE]
    apps = [app.name for app in state.applications if app.name not in jobs]
    if jobs and len(apps) <= len(jobs):
        apps = []  # a job's application may bear another name
    return [f"job {job}" for job in jobs] + [f"application {app}" for app in apps]


def require(state: ClusterState, names: Sequence[str], action: Action, *, option: str = "") -> None:
    """Refuse what cannot be done, before anything is.

    Args:
        state: the cluster.
        names: the nodes that are meant.
        action: what is meant.
        option: how the user named the cluster, such as ``-i ward``; commands in hints have it.

    Raises:
        ConnectionFailed: nodes do not answer; all of them are named.
        NotProvisioned: nodes have no services yet.
    """
    silent = {n: out for n in names if isinstance(out := state.nodes[n], MammoctlError)}
    if silent:
        others = [name for name in names if name not in silent]
        rest = " ".join([*(f"--node {name}" for name in others), option]).rstrip()
        raise ConnectionFailed(
            f"{len(silent)} of {len(names)} nodes do not answer: {', '.join(silent)}",
            details=[line for error in silent.values() for line in (error.message, error.hint)],
            hint=f"mend these; or leave them out: mammoctl {action} {rest}" if others else "",
        )
    bare = [n for n in names if isinstance(s := state.nodes[n], NodeState) and s.record is None]
    if bare:
        raise NotProvisioned(
            f"{', '.join(bare)}: not provisioned, so there is nothing to {action}",
            hint=f"mammoctl provision {option}".rstrip(),
        )


def run(
    state: ClusterState,
    names: Sequence[str],
    action: Action,
    playbook: Callable[[str, str | None], PlaybookResult],
    look: Callable[[], ClusterState],
    *,
    wait_s: float = WAIT_S,
) -> Outcome:
    """Do it and wait until it is so.

    Args:
        state: the cluster before.
        names: the nodes, as `require` has admitted them.
        action: what to do.
        playbook: runs a playbook, by its verb, on a pattern of hosts or on all.
        look: asks the cluster again.
        wait_s: seconds until a start must have come to its end.

    Raises:
        PlaybookFailed: a service did not start or stop.
        NotSo: it did, and is not what it should be.
    """
    began = time.monotonic()
    limit = None if len(names) == len(state.nodes) else ",".join(names)
    before = {name: running(state, name) for name in names}
    logs = []
    if action in ("stop", "restart"):
        logs.append(str(playbook("stop", limit).log))
    if action in ("start", "restart"):
        logs.append(str(playbook("start", limit).log))
    after = _await(look, names, began + wait_s, stopped=action == "stop")
    outcome = Outcome(action, list(names), time.monotonic() - began, after, logs=logs)
    for name in names:
        now = running(after, name)
        if action == "restart":
            outcome.changed[name] = [unit for unit in now if unit not in KEPT]
        else:
            outcome.changed[name] = sorted(set(before[name]) ^ set(now))
    return outcome


def _await(
    look: Callable[[], ClusterState], names: Sequence[str], deadline: float, *, stopped: bool
) -> ClusterState:
    while True:
        state = look()
        wrong = _still_running(state, names) if stopped else _not_up(state, names)
        if not wrong:
            return state
        if time.monotonic() > deadline:
            raise NotSo(
                f"{'these still run' if stopped else 'not everything came up'}",
                details=findings.lines(wrong),
                hint="mammoctl status tells how it goes on",
            )
        time.sleep(_PAUSE_S)


def _not_up(state: ClusterState, names: Sequence[str]) -> list[findings.Finding]:
    """What a start of these nodes waits for; what is wrong elsewhere is not theirs to mend."""
    return [one for one in services(state) if one.grave and one.host in names]


def _still_running(state: ClusterState, names: Sequence[str]) -> list[findings.Finding]:
    found = []
    for name in names:
        seen = state.nodes[name]
        if not isinstance(seen, NodeState):
            found.append(findings.of_error(name, seen))
            continue
        due = duties(seen.record, name) if seen.record else []
        left = [unit for unit in running(state, name) if unit in due and unit not in KEPT]
        found += [findings.Finding(name, f"{unit} still runs") for unit in left]
    return found
