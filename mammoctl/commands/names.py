"""``mammoctl names`` (hidden): the names that the shell's completion offers."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from mammoctl.commands.options import Inventory
from mammoctl.completion import Kind

KINDS = get_args(Kind)


def names(
    kind: Annotated[str, typer.Argument(metavar="|".join(KINDS))], inventory: Inventory = None
) -> None:
    """Print names, one a line: of hosts, jobs (the newest first), data sets or operators."""
    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.access import nodes as everywhere
    from mammoctl.data.storage import Storage
    from mammoctl.data.stored import names as data_names
    from mammoctl.errors import UsageError
    from mammoctl.jobs.known import list_jobs
    from mammoctl.ssh import Nodes

    if kind not in KINDS:
        raise UsageError(f"no names of {kind!r}", hint=", ".join(KINDS))
    cluster = inventories.load(inventory)
    found = list(cluster.hosts)
    if kind != "hosts":
        with Nodes(cluster, connect_s=2, answer_s=4) as nodes:
            if kind == "jobs":
                found = [str(item["spec"]["id"]) for item in reversed(list_jobs(nodes))]
            elif kind == "operators":
                found = sorted(everywhere.ask(nodes, "list").access)
            else:
                found = data_names(Storage(nodes, clusters.read(nodes)))
    for name in found:
        console.result(name)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("names", hidden=True)(names)
