"""``mammoctl teardown``: remove from the hosts what provisioning put there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import ExtraVars, Inventory, Json, Yes, again

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster

_MANIFEST = "cat /var/lib/mammoctl/manifest.json 2>/dev/null || echo '{}'"
_KINDS = ("packages", "users", "trees", "files", "blocks")


def teardown(
    *,
    inventory: Inventory = None,
    data: Annotated[
        bool, typer.Option("--data", help="The cluster's data too: HDFS, jobs and results.")
    ] = False,
    keep_packages: Annotated[
        bool,
        typer.Option("--keep-packages", help="Leave the Debian packages that came with mammoctl."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Although applications run; they are lost.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; list what would be removed.")
    ] = False,
    yes: Yes = False,
    extra_vars: ExtraVars = None,
    as_json: Json = False,
) -> None:
    """Remove from every host what provisioning put there, and nothing else.

    Each host has a record of it. Data stays unless --data is given. `--check` lists everything.
    """
    from mammoctl import console, lock
    from mammoctl import inventory as inventories
    from mammoctl.ansible.runner import run_playbook

    cluster = inventories.load(inventory)
    with lock.over(cluster, "teardown", option=again(inventory), unless=check):
        console.step(f"Looking at {', '.join(cluster.hosts)}")
        recorded = _recorded(cluster)
        if not as_json:
            rows = [
                [name, *(len(made[kind]) for kind in _KINDS)] for name, made in recorded.items()
            ]
            columns = ["host", "packages", "users", "folders", "files", "parts of files"]
            console.table("What mammoctl made on the hosts", columns, rows)
        if not check:
            what = (
                "with ALL DATA of the cluster (HDFS, jobs)" if data else "except the cluster's data"
            )
            console.confirm(f"Remove this from {cluster.name}, {what}?", yes=yes, as_json=as_json)
        result = run_playbook(
            "teardown",
            cluster,
            extra_vars={
                "teardown_data": data,
                "teardown_packages": not keep_packages,
                "teardown_force": force,
            },
            extra_args=extra_vars or [],
            check=check,
            diff=check,
            title=f"tear down {cluster.name}",
        )
    if as_json:
        left = recorded if check else _recorded(cluster)
        console.result_json(
            {
                **result.as_json(),
                "cluster": cluster.name,
                "check": check,
                "data": data,
                "recorded": {"before": recorded, "after": left},
            }
        )
        return
    if check:
        console.result(f"{cluster.name}: nothing was touched")
    else:
        kept = "" if data else "; its data is kept (--data removes it)"
        console.result(f"{cluster.name}: removed in {result.seconds:.0f} s{kept}")
    console.note(f"full log: {result.log}")


def _recorded(cluster: Cluster) -> dict[str, dict[str, list[str]]]:
    """Return each host's record of what was made there, by kind.

    Raises:
        ConnectionFailed: hosts cannot be reached; all of them are named.
    """
    import json

    from mammoctl.errors import RemoteError
    from mammoctl.ssh import Nodes, require_all

    with Nodes(cluster) as nodes:
        outcomes = require_all(nodes.run_all(_MANIFEST, sudo=True, timeout=60))
    found = {}
    for name, out in outcomes.items():
        try:
            made = json.loads(out.stdout)
            found[name] = {kind: [str(item) for item in made.get(kind, [])] for kind in _KINDS}
        except (ValueError, AttributeError) as exc:
            raise RemoteError(
                f"{name}: /var/lib/mammoctl/manifest.json cannot be read: {exc}",
                hint="run `mammoctl provision` again: it writes the record anew",
            ) from exc
    return found


def register(app: typer.Typer) -> None:
    """Add ``teardown`` to the command line."""
    app.command()(teardown)
