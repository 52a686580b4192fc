"""``mammoctl plan``: what a provision would change."""

from __future__ import annotations

from typing import Annotated

import typer

from mammoctl.commands.options import (
    BundleGiven,
    ExtraVars,
    Inventory,
    Json,
    Limit,
    Tags,
    again,
)


def plan(
    *,
    inventory: Inventory = None,
    bundle: BundleGiven = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show the differences of files; secrets are left out.")
    ] = False,
    limit: Limit = None,
    tags: Tags = None,
    extra_vars: ExtraVars = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Return 1 when something would change.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a provision would change on each host; changes nothing.

    Packages, accounts, files, what is sent, and services that would be started or restarted. It is
    Ansible's check mode over the same roles, so it takes about as long as a repeated provision.

    Examples:
        mammoctl plan

        mammoctl plan --diff

        mammoctl plan --tags spark -e spark_default_cores=4
    """
    from mammoctl import console, provision, roles, targets
    from mammoctl import inventory as inventories
    from mammoctl import plan as plans

    cluster = inventories.load(inventory)
    only = targets.limited(cluster, limit or [])
    request = provision.Request(extra_vars or [], roles.check_tags(tags), only, bundle)
    prepared = provision.prepare(cluster, request.extra_vars, bundle, progress=not as_json)
    found = provision.predict(cluster, prepared, request, diff=diff)
    if as_json:
        console.result_json({"schema": 1, "cluster": cluster.name, **found.as_json()})
    else:
        console.show(plans.view(found))
        console.result(f"{cluster.name}: {plans.summary(found)}; nothing was touched")
        if found.changes:
            console.note(f"next: mammoctl provision {again(inventory)}".rstrip())
        console.note(f"full log: {found.log}")
    if exit_code and found.changes:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add ``plan`` to the command line."""
    app.command()(plan)
