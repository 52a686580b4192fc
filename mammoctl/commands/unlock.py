"""``mammoctl unlock``: end the lock of another operator, or of a command that hangs."""

from __future__ import annotations

import typer

from mammoctl.commands.options import Inventory, Json, Yes


def unlock(*, inventory: Inventory = None, yes: Yes = False, as_json: Json = False) -> None:
    """Show who holds the cluster's lock, and end it after a question.

    Commands that change a cluster hold a lock on its master, so that two operators do not change
    it at the same time. It ends with its command, and a minute after its machine is gone: to end it
    by hand is for a command that hangs. That command is stopped when another takes the lock.

    Examples:
        mammoctl unlock

        mammoctl unlock --yes
    """
    from mammoctl import console, lock
    from mammoctl import inventory as inventories
    from mammoctl.ssh import Nodes

    cluster = inventories.load(inventory)
    with Nodes(cluster) as nodes:
        holder = lock.holder(nodes)
        if holder:
            console.note(f"{cluster.name} is being changed by {holder}")
            console.confirm("End this lock?", yes=yes, as_json=as_json)
            lock.end(nodes, holder)
    if as_json:
        ended = None
        if holder:
            ended = {"who": holder.who, "command": holder.command, "since": holder.since}
        console.result_json({"schema": 1, "cluster": cluster.name, "ended": ended})
    elif holder:
        console.result(f"{cluster.name}: the lock is ended")
    else:
        console.result(f"{cluster.name}: nobody holds a lock")


def register(app: typer.Typer) -> None:
    """Add ``unlock`` to the command line."""
    app.command()(unlock)
