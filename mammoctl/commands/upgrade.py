"""``mammoctl upgrade``: a running cluster to another bundle, node by node, and back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import Check, Diff, ExtraVars, Inventory, Json, Yes, again

if TYPE_CHECKING:
    from mammoctl.ansible.runner import PlaybookResult
    from mammoctl.bundle import Bundle
    from mammoctl.cluster import ClusterFile
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

# The requirements of the present environment; its name begins with their checksum.
_REQUIREMENTS = (
    "key=$(basename $(readlink /opt/mammoctl/env) | cut -c1-16); "
    "cat /var/lib/mammoctl/store/$key*/requirements*"
)


def upgrade(
    *,
    inventory: Inventory = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--bundle",
            metavar="KEY|FILE",
            help="A bundle of `mammoctl bundle show`, or where one was written; by default what "
            "this mammoctl's locks say.",
        ),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Back to what the last upgrade replaced.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Although applications run; they may fail.")
    ] = False,
    check: Check = False,
    diff: Diff = False,
    yes: Yes = False,
    extra_vars: ExtraVars = None,
    as_json: Json = False,
) -> None:
    """Bring a running cluster to another Spark, HDFS or Python environment, node by node.

    The new environment is made on all nodes and tried before anything is switched. If a node
    fails, all go back to what they were. Data stays. `--rollback` takes the last upgrade back.
    """
    from mammoctl import cluster as clusters
    from mammoctl import console, lock
    from mammoctl import inventory as inventories
    from mammoctl.ansible.runner import run_playbook
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes

    if rollback and key:
        raise UsageError("--rollback goes back to the previous bundle", hint="leave out --bundle")
    began = time.monotonic()
    cluster = inventories.load(inventory)
    with lock.over(cluster, "upgrade", option=again(inventory), unless=check):
        with Nodes(cluster) as nodes:
            before = clusters.read(nodes)
            given: dict[str, object] = {"upgrade_rollback": rollback, "upgrade_force": force}
            if rollback:
                question = f"Take the last upgrade of {cluster.name} back?"
            else:
                prepared = _prepared(cluster, key, extra_vars or [], progress=not as_json)
                given["mammoctl_bundle_file"] = str(prepared.path)
                question = f"Upgrade {cluster.name} from bundle {before.bundle} to {prepared.key}?"
                if prepared.key != before.bundle:
                    _tell_plan(nodes, before, prepared)
        if not check and (rollback or prepared.key != before.bundle):
            console.confirm(question, yes=yes, as_json=as_json)
        result = run_playbook(
            "upgrade",
            cluster,
            extra_vars=given,
            extra_args=extra_vars or [],
            check=check,
            diff=diff,
            title=f"{'roll back' if rollback else 'upgrade'} {cluster.name}",
        )
        if check:
            after = before
        else:
            with Nodes(cluster) as nodes:
                after = clusters.read(nodes)
    seconds = time.monotonic() - began
    if as_json:
        states = {"before": before, "after": after}
        console.result_json(
            {
                **result.as_json(),
                "cluster": cluster.name,
                "seconds": round(seconds, 1),
                "check": check,
                "rollback": rollback,
                **{
                    when: {"bundle": state.bundle, "spark_version": state.spark_version}
                    for when, state in states.items()
                },
            }
        )
        return
    _show(cluster, before, after, result, check)
    if not check:
        console.note("next: mammoctl verify")
    console.note(f"full log: {result.log}")


def _prepared(
    cluster: Cluster, key: str | None, extra_vars: list[str], *, progress: bool
) -> Bundle:
    from mammoctl import provision
    from mammoctl.bundle import carried

    if key is None or carried.is_file(key):
        return provision.prepare(cluster, extra_vars, key, progress=progress).bundle
    return carried.named(key)


def changes(before: str, after: str) -> list[tuple[str, str, str]]:
    """Return (package, version before, version after) for what two requirements files differ in.

    A package that comes or goes has an empty version on the other side.
    """
    old, new = (
        dict(line.split()[0].split("==", 1) for line in text.splitlines() if "==" in line)
        for text in (before, after)
    )
    return [
        (name, old.get(name, ""), new.get(name, ""))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _tell_plan(nodes: Nodes, before: ClusterFile, prepared: Bundle) -> None:
    """Show which packages change on the master; silent where the node cannot tell."""
    from mammoctl import console

    master = nodes.cluster.master
    variant = before.tensorflow_variant.get(master.name, "cpu")
    wanted = prepared.requirements.get(variant)
    said = nodes.run(master, _REQUIREMENTS, sudo=True, check=False)
    if wanted is None or not said.ok:
        return
    text = (prepared.store / wanted.path).read_text(encoding="utf-8")
    for name, old, new in changes(said.stdout, text):
        console.note(f"  {name}: {old or 'none'} -> {new or 'none'}")


def _show(
    cluster: Cluster, before: ClusterFile, after: ClusterFile, result: PlaybookResult, check: bool
) -> None:
    from mammoctl import console

    changed = "would change" if check else "changed"
    rows: list[list[object]] = []
    for name in cluster.hosts:
        stats = result.hosts.get(name)
        counts = (stats.ok, stats.changed, stats.failed) if stats else ("-", "-", "-")
        rows.append([name, *counts])
    console.table("", ["host", "ok", changed, "failed"], rows)
    count = len(result.changed)
    if check:
        console.result(f"{cluster.name}: {count} changes would be made; nothing was touched")
    elif after.bundle == before.bundle:
        console.result(f"{cluster.name}: on bundle {after.bundle} already, {count} changed")
    else:
        console.result(
            f"{cluster.name}: bundle {before.bundle} -> {after.bundle}, Spark "
            f"{before.spark_version} -> {after.spark_version}, in {result.seconds:.0f} s"
        )


def register(app: typer.Typer) -> None:
    """Add ``upgrade`` to the command line."""
    app.command()(upgrade)
