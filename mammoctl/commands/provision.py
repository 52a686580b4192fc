"""``mammoctl provision``: bare hosts to a Spark cluster."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import Check, Diff, ExtraVars, Inventory, Json

if TYPE_CHECKING:
    from mammoctl.ansible.runner import PlaybookResult
    from mammoctl.bundle import Bundle, Target
    from mammoctl.inventory import Cluster
    from mammoctl.probe import Facts


def provision(
    *,
    inventory: Inventory = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle",
            metavar="KEY|FILE",
            help="A bundle of `mammoctl bundle create`, or where one was written: nothing is "
            "fetched from outside.",
        ),
    ] = None,
    check: Check = False,
    diff: Diff = False,
    tags: Annotated[
        str | None, typer.Option("--tags", help="Only these parts, such as spark,hdfs_configure.")
    ] = None,
    extra_vars: ExtraVars = None,
    as_json: Json = False,
) -> None:
    """Turn the hosts of an inventory into a Spark cluster with HDFS and TensorFlow.

    Safe to run again at any time: what is as it should be is left alone. See first what would
    change with --check --diff.
    """
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.ansible.runner import run_playbook

    began = time.monotonic()
    cluster = inventories.load(inventory)
    facts, target, prepared = prepare(cluster, extra_vars or [], bundle, progress=not as_json)
    looked = time.monotonic() - began
    result = run_playbook(
        "provision",
        cluster,
        extra_vars={"mammoctl_bundle_file": str(prepared.path)},
        extra_args=extra_vars or [],
        tags=tags,
        check=check,
        diff=diff,
        title=f"provision {cluster.name}",
    )
    seconds = time.monotonic() - began
    if as_json:
        console.result_json(
            {
                **result.as_json(),
                "cluster": cluster.name,
                "seconds": round(seconds, 1),
                "seconds_before": round(looked, 1),
                "check": check,
                "bundle": prepared.key,
                "target": str(target),
            }
        )
        return
    _show(cluster, facts, result, looked, check)
    _next_step(cluster, result, seconds, check)


def prepare(
    cluster: Cluster, extra_vars: list[str], given: str | None = None, *, progress: bool
) -> tuple[dict[str, Facts], Target, Bundle]:
    """Look at the hosts, decide what they get, and have it here.

    Args:
        cluster: the hosts.
        extra_vars: values for ``-e``, as the user wrote them.
        given: the bundle that the user names, by its key or where it lies; made here otherwise.
        progress: show a bar on a terminal and plain lines elsewhere.

    Raises:
        MammoctlError: hosts cannot be reached or cannot be nodes, or something cannot be had.
    """
    from mammoctl import become, bundle, console, probe, python_runtime, sourcing
    from mammoctl.ansible import extra_vars as variables
    from mammoctl.bundle import carried
    from mammoctl.ssh import Nodes

    extra = variables.read(extra_vars)
    if given is not None:
        named = carried.named(given)
        console.step(f"Looking at {', '.join(cluster.hosts)}")
        with Nodes(cluster) as nodes:
            facts = probe.probe(nodes, extra)
        probe.require_fit(
            facts,
            named,
            asking=become.asking(cluster),
            room_mb=probe.room_needed(cluster, extra),
        )
        if carried.is_file(given):
            console.step(f"Taking the bundle {given} in ({named.target})")
            named = carried.opened(Path(given))
        sourcing.require_brought(cluster, extra, named)
        return facts, named.target, named
    wanted = python_runtime.wish(cluster, extra)
    managed = python_runtime.managed(wanted)
    sources = sourcing.sources(cluster, extra)
    console.step(f"Looking at {', '.join(cluster.hosts)}")
    with Nodes(cluster) as nodes:
        facts = probe.probe(nodes, extra)
    target = probe.choose_target(
        facts,
        runtime=wanted.runtime,
        managed=managed,
        sources=sources,
        asking=become.asking(cluster),
        room_mb=probe.room_needed(cluster, extra),
    )
    console.step(f"Preparing what the nodes need ({target})")
    return facts, target, bundle.ensure_bundle(target, progress=progress)


def _show(
    cluster: Cluster, facts: dict[str, Facts], result: PlaybookResult, looked: float, check: bool
) -> None:
    from mammoctl import console

    rows = []
    for name, host in cluster.hosts.items():
        stats = result.hosts.get(name)
        duties = ["master"] if host is cluster.master else []
        duties += ["worker"] if host in cluster.workers else []
        counts = (stats.ok, stats.changed, stats.failed) if stats else ("-", "-", "-")
        rows.append([name, host.address, "+".join(duties), facts[name].release, *counts])
    changed = "would change" if check else "changed"
    console.table("", ["host", "address", "duty", "system", "ok", changed, "failed"], rows)
    by_role: dict[str, int] = {}
    for _host, task in result.changed:
        by_role[task.group] = by_role.get(task.group, 0) + 1
    steps: list[list[object]] = [["look, prepare", f"{looked:.1f}", ""]]
    steps += [[role, f"{spent:.1f}", by_role.get(role, 0)] for role, spent in result.roles.items()]
    steps.append(["all", f"{looked + result.seconds:.1f}", len(result.changed)])
    console.table("", ["step", "seconds", changed], steps)


def _next_step(cluster: Cluster, result: PlaybookResult, seconds: float, check: bool) -> None:
    from mammoctl import console

    count = len(result.changed)
    if check:
        console.result(f"{cluster.name}: {count} changes would be made; nothing was touched")
    else:
        console.result(f"{cluster.name}: provisioned in {seconds:.0f} s, {count} changed")
        console.note("next: mammoctl verify")
    console.note(f"full log: {result.log}")


def register(app: typer.Typer) -> None:
    """Add ``provision`` to the command line."""
    app.command()(provision)
