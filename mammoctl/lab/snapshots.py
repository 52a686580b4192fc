"""Snapshots: the writable layers of all nodes are frozen and get empty ones on top.

Nothing is copied, so both directions take as long as the nodes take to stop and start.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from mammoctl import console
from mammoctl.errors import LabError, UsageError
from mammoctl.lab import lab, rootfs
from mammoctl.lab.state import LabState, NodeState


def check_snapshot_name(name: str) -> str:
    """Return ``name`` when it can be a snapshot's name.

    Raises:
        UsageError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(
            f"{name!r} cannot be a snapshot's name",
            hint="letters, digits, hyphens, points and underscores, at most 64 characters",
        )
    return name


def take(state: LabState, name: str, *, replace: bool = False) -> None:
    """Keep the state of all nodes as snapshot ``name``; the nodes are restarted.

    Args:
        state: a complete lab, held by the caller.
        name: name of the snapshot.
        replace: an older snapshot of this name may go.

    Raises:
        LabError: there is a snapshot of this name, or a node does not shut down or boot.
        UsageError: the name cannot be used.
    """
    check_snapshot_name(name)
    if state.pending == f"snapshot {name}":
        console.note(f"snapshot {name} was taken before an interruption: starting the nodes")
        _finish(state)
        return
    if name in state.snapshots and not replace:
        raise LabError(
            f"the lab {state.name!r} has a snapshot {name!r} already",
            hint="another name, or --replace",
        )
    lab.stop(state, state.nodes)
    kept: dict[str, list[int]] = {}
    for one in state.nodes:
        rootfs.unmount(state, one)
        kept[one.name] = [*one.layers, one.upper]
        _stack(state, one, kept[one.name])
    state.snapshots[name] = kept
    state.pending = f"snapshot {name}"
    state.save()
    _finish(state)


def restore(state: LabState, name: str) -> None:
    """Bring all nodes back to snapshot ``name``; what they did since is dropped.

    Args:
        state: a complete lab, held by the caller.
        name: name of the snapshot.

    Raises:
        LabError: there is no such snapshot, or a node does not boot.
    """
    if name not in state.snapshots:
        known = ", ".join(state.snapshots) or "none"
        raise LabError(
            f"the lab {state.name!r} has no snapshot {name!r}", hint=f"its snapshots: {known}"
        )
    lab.stop(state, state.nodes, kill=True)  # their state is dropped: no need to shut down
    for one in state.nodes:
        rootfs.unmount(state, one)
        _stack(state, one, state.snapshots[name][one.name])
    state.pending = f"restore {name}"
    state.save()
    _finish(state)


def _stack(state: LabState, one: NodeState, layers: list[int]) -> None:
    """Give the node an empty layer above ``layers``."""
    used = [
        *one.layers,
        one.upper,
        *(n for kept in state.snapshots.values() for n in kept[one.name]),
    ]
    one.layers, one.upper = list(layers), max(used) + 1
    # An interruption before the record was saved may have left a layer of this number.
    shutil.rmtree(rootfs.layer(state, one, one.upper), ignore_errors=True)


def _finish(state: LabState) -> None:
    for one in state.nodes:
        keep = {*one.layers, one.upper, *(n for s in state.snapshots.values() for n in s[one.name])}
        for path in Path(state.node_dir(one), "l").iterdir():
            if int(path.name) not in keep:
                shutil.rmtree(path)
    lab.boot(state)
