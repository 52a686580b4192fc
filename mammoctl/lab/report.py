"""What ``lab status`` tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mammoctl.lab import cgroups, network, node, remote
from mammoctl.lab.state import LabState, NodeState

COLUMNS = ("node", "address", "image", "state", "memory MiB", "cores")


def node_state(state: LabState, one: NodeState) -> str:
    """Return ``up`` (sshd answers), ``booting`` (it runs, but does not answer) or ``off``."""
    if node.supervisor_pid(state, one) is None:
        return "off"
    return "up" if remote.answers(one) else "booting"


def describe(state: LabState) -> dict[str, Any]:
    """Return the lab as plain data; memory is in MiB, CPU in cores."""
    nodes = []
    for one in state.nodes:
        running = node_state(state, one)
        used = None
        if running != "off":
            used = cgroups.group(state.cgroup, one.name).memory()[0] // 2**20
        nodes.append(
            {
                "name": one.name,
                "address": one.address,
                "image": one.image,
                "state": running,
                "memory_mb": one.memory_mb,
                "memory_used_mb": used,
                "cpus": one.cpus,
            }
        )
    return {
        "schema": 1,
        "name": state.name,
        "complete": state.complete,
        "subnet": state.subnet,
        "bridge": state.bridge,
        "gateway": state.gateway,
        "closed": state.closed,
        "outside": network.outside(state),
        "nodes": nodes,
        "snapshots": list(state.snapshots),
        "inventories": state.inventories,
    }


def rows(found: dict[str, Any]) -> list[Sequence[object]]:
    """Return the lines of the table for the result of `describe`."""
    return [
        (
            one["name"],
            one["address"],
            one["image"],
            one["state"],
            f"{one['memory_used_mb'] or 0} of {one['memory_mb']}",
            f"{one['cpus']:g}",
        )
        for one in found["nodes"]
    ]
