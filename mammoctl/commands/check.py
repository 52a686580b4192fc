"""``mammoctl check``: what would keep hosts from becoming a cluster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import BundleGiven, ExtraVars, Inventory, Json

if TYPE_CHECKING:
    from mammoctl.check.run import Report
    from mammoctl.inventory import Cluster


def check(
    *,
    inventory: Inventory = None,
    bundle: BundleGiven = None,
    extra_vars: ExtraVars = None,
    security: Annotated[
        bool,
        typer.Option("--security", help="Compare a running cluster with docs/security.md instead."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Find everything that could fail later, on all hosts; changes nothing.

    Login, sudo, system, Python, disk, memory, clocks, names, ports, the network between the
    nodes, package sources and locks, GPUs, room for the bundle, modes of the secrets and keys here.
    Each finding with its mend.

    With --security, on a cluster that runs: sockets, confinement of services, modes of files and
    keys, the guard's rules, WireGuard, host keys, ages of secrets.

    Exit code: 0 nothing is in the way, 1 something is, 2 no such inventory.

    Examples:
        mammoctl check

        mammoctl check -i ward --json | jq -r '.findings[].seen'
    """
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.bundle import carried
    from mammoctl.check import security as secure
    from mammoctl.check.run import check as run
    from mammoctl.ssh import Nodes

    cluster = inventories.load(inventory)
    if security:
        _security(cluster, as_json=as_json)
        return
    console.step(f"Looking at {', '.join(cluster.hosts)}")
    with Nodes(cluster) as nodes:
        report = run(nodes, extra_vars or [], bundle or carried.of_cluster(nodes))
    report.findings += [one for one in secure.of_control(cluster, time.time()) if one.grave]
    if as_json:
        console.result_json(report.as_json())
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


def _security(cluster: Cluster, *, as_json: bool) -> None:
    from mammoctl import console, findings
    from mammoctl.check import security
    from mammoctl.ssh import Nodes

    console.step(f"Looking at {', '.join(cluster.hosts)}")
    with Nodes(cluster) as nodes:
        found = security.check(nodes)
    grave = sum(one.grave for one in found)
    if as_json:
        told = [one.as_json() for one in found]
        document = {"schema": 1, "cluster": cluster.name, "ok": not grave, "findings": told}
        console.result_json(document)
    else:
        for line in findings.lines(one for one in found if one.grave):
            console.result(line)
        if remarks := [one for one in found if not one.grave]:
            console.result("not wrong, but worth knowing:")
            for line in findings.lines(remarks):
                console.result(f"  {line}")
        differs = f"{grave} difference{'s' * (grave > 1)} from" if grave else "as in"
        console.result(f"{cluster.name}: {differs} docs/security.md; nothing was changed")
    if grave:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    from mammoctl import console, findings
    from mammoctl.columns import Column, grid

    rows = []
    for name, host in report.cluster.hosts.items():
        seen = report.facts.get(name)
        count = str(sum(name in one.host.split(", ") for one in report.findings) or "-")
        if seen is None:
            rows.append([name, host.address, "not reached", "", "", "", "", "", count])
            continue
        free, memory = f"{seen.free_mb / 1024:.0f}", f"{seen.memory_mb / 1024:.1f}"
        rows.append(
            [name, host.address, seen.release, seen.python or "none", str(seen.cores), memory,
             free, str(seen.gpus or "-"), count]
        )  # fmt: skip
    titles = ("host", "address", "system", "Python", "cores", "GiB", "GiB free", "GPUs", "findings")
    spare = (0, 3, 0, 1, 2, 1, 1, 2, 0)
    table = [Column(*part) for part in zip(titles, zip(*rows, strict=True), spare, strict=True)]
    console.show(grid(table, console.width()))
    for line in findings.lines(one for one in report.findings if one.grave):
        console.result(line)
    remarks = [one for one in report.findings if not one.grave]
    if remarks:
        console.result("not in the way, but worth knowing:")
        for line in findings.lines(remarks):
            console.result(f"  {line}")
    cluster, grave = report.cluster.name, sum(one.grave for one in report.findings)
    if grave:
        console.result(f"{cluster}: {grave} thing{'s' * (grave > 1)} to mend; nothing was changed")
        if not report.roles_checked:
            console.note("the roles' own checks (ports, clocks, memory, GPUs) come after that")
    else:
        console.result(f"{cluster}: nothing is in the way; {report.target}")
        console.note("next: mammoctl provision")


def register(app: typer.Typer) -> None:
    """Add ``check`` to the command line."""
    app.command()(check)
