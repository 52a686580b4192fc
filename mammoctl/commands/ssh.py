"""``mammoctl ssh``: a shell on a node."""

from __future__ import annotations

from typing import Annotated

import typer

from mammoctl import completion
from mammoctl.commands.options import Inventory
from mammoctl.commands.words import Split, behind, command


def ssh(
    ctx: typer.Context,
    node: Annotated[
        str | None,
        typer.Argument(
            metavar="NODE", help="By default the master.", autocompletion=completion.hosts
        ),
    ] = None,
    *,
    inventory: Inventory = None,
) -> None:
    """Open a shell on a node, or run one command there: mammoctl ssh [NODE] [-- COMMAND].

    User, key, port, jump host and pinned host keys are those of the inventory. The command's
    input and output are this terminal's; its exit code is this one's (255: not reached).

    Examples:
        mammoctl ssh

        mammoctl ssh ward2

        mammoctl ssh ward2 -- sudo journalctl -u spark-worker | less
    """
    from mammoctl import console, targets
    from mammoctl import inventory as inventories
    from mammoctl.errors import ConnectionFailed
    from mammoctl.ssh import Nodes, session, transfer

    cluster = inventories.load(inventory)
    name = targets.one(cluster, node) if node else cluster.master.name
    said = behind(ctx)
    with Nodes(cluster) as nodes:
        try:
            code = session.run(nodes, name, command(said) if said else None)
        except ConnectionFailed as exc:
            console.error(exc)
            code = transfer.SSH_FAILED
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add ``ssh`` to the command line."""
    app.command(cls=Split)(ssh)
