"""``mammoctl provision``: bare hosts to a Spark cluster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import (
    BundleGiven,
    Check,
    Diff,
    ExtraVars,
    Inventory,
    Json,
    Limit,
    Tags,
    again,
)

if TYPE_CHECKING:
    from mammoctl.ansible.runner import PlaybookResult
    from mammoctl.inventory import Cluster
    from mammoctl.provision import Prepared, Request
    from mammoctl.ssh import Nodes


def provision(
    *,
    inventory: Inventory = None,
    bundle: BundleGiven = None,
    check: Check = False,
    diff: Diff = False,
    limit: Limit = None,
    tags: Tags = None,
    extra_vars: ExtraVars = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the last one was broken off.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Without the plan and the question.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn the hosts of an inventory into a Spark cluster with HDFS and TensorFlow.

    On a terminal it shows what would change, and asks. Without one, and with --yes or --json, it
    begins at once, and warns of jobs that a restart may break off; `mammoctl plan` is the same look
    alone. Safe to run again at any time: what is
    as it should be is left alone. One operator at a time: others are told who is at work.

    Examples:
        mammoctl provision

        mammoctl provision --yes --tags spark -e spark_default_cores=4

        mammoctl provision --resume
    """
    from mammoctl import console, lock, roles, targets
    from mammoctl import inventory as inventories
    from mammoctl import provision as provisioning
    from mammoctl import resume as unfinished
    from mammoctl.errors import UsageError
    from mammoctl.provision import Request
    from mammoctl.ssh import Nodes

    if resume and (check or limit or tags):
        raise UsageError("--resume takes the options of the run that it resumes")
    began = time.monotonic()
    cluster = inventories.load(inventory)
    name = again(inventory)
    _warn_of_secrets(cluster)
    before = unfinished.read(cluster) if resume else None
    request = Request(
        unfinished.extra_vars(before, extra_vars or []) if before else extra_vars or [],
        roles.check_tags(tags) or (before.tags if before else None),
        targets.limited(cluster, limit or (before.limit if before else [])),
        bundle or (before.bundle if before else None),
    )
    if check:
        prepared = provisioning.prepare(
            cluster, request.extra_vars, request.bundle, progress=not as_json
        )
        result = provisioning.run(cluster, prepared, request, check=True, diff=diff)
    else:
        with Nodes(cluster) as nodes, lock.held(nodes, "provision", option=name):
            prepared = provisioning.prepare(
                cluster, request.extra_vars, request.bundle, progress=not as_json
            )
            skipped = provisioning.finished(cluster, prepared, request, before)
            if skipped:
                console.note(f"finished before, and nothing has changed since: {skipped}")
            elif before and not request.tags:
                console.note("something has changed since: all roles are gone through")
            ask = console.can_ask() and not (yes or as_json or skipped)
            if not ask:
                _warn_of_work(nodes, prepared)
            elif not _agreed(cluster, nodes, prepared, request, diff):
                return
            result = provisioning.apply(cluster, prepared, request, before, diff, option=name)
    seconds = time.monotonic() - began
    if as_json:
        console.result_json(
            {
                **result.as_json(),
                "cluster": cluster.name,
                "seconds": round(seconds, 1),
                "seconds_before": round(prepared.seconds, 1),
                "check": check,
                "bundle": prepared.bundle.key,
                "target": str(prepared.target),
            }
        )
        return
    _show(cluster, prepared, result, check)
    _next_step(cluster, result, seconds, check, name)


def _agreed(
    cluster: Cluster, nodes: Nodes, prepared: Prepared, request: Request, diff: bool
) -> bool:
    """Show what would change, and ask; tell whether there is anything to do.

    Raises:
        UsageError: it was refused.
    """
    from mammoctl import console
    from mammoctl import plan as plans
    from mammoctl import provision as provisioning

    found = provisioning.predict(cluster, prepared, request, diff=diff)
    if not found.changes:
        console.result(f"{cluster.name}: nothing to change")
        console.note("whether all of it works: mammoctl status")
        return False
    console.show(plans.view(found))
    if plans.restarts(found.changes) and (work := provisioning.at_work(nodes)):
        console.warn(f"{', '.join(work)}: may fail when services restart")
    console.confirm(f"{cluster.name}: {plans.summary(found)}. Go on?", yes=False)
    return True


def _warn_of_secrets(cluster: Cluster) -> None:
    """Tell what others can read or change beside the inventory, before it comes into use."""
    from mammoctl import console
    from mammoctl.check import security

    for one in security.of_control(cluster, time.time()):
        if one.grave:
            console.warn(f"{one.seen}. Mend: {one.mend}")


def _warn_of_work(nodes: Nodes, prepared: Prepared) -> None:
    """Name what a restart would break off, where nobody has been shown whether there is one."""
    from mammoctl import console
    from mammoctl import provision as provisioning

    is_new = not any(seen.installed for seen in prepared.facts.values())
    if not is_new and (work := provisioning.at_work(nodes)):
        console.warn(f"{', '.join(work)}: may fail where services restart")


def _show(cluster: Cluster, prepared: Prepared, result: PlaybookResult, check: bool) -> None:
    from mammoctl import console, plan
    from mammoctl.columns import Column, grid

    rows: list[list[str]] = []
    for name, host in cluster.hosts.items():
        duties = ["master"] if host is cluster.master else []
        duties += ["worker"] if host in cluster.workers else []
        stats = result.hosts.get(name)
        mine = [change for change in result.changes if change.host == name]
        counts = [sum(one.kind in kinds for one in mine) for kinds in _KINDS.values()]
        counts.append(len(plan.restarts(mine)))
        tasks = str(stats.changed) if stats else "-"
        system = prepared.facts[name].release
        rows.append([name, "+".join(duties), system, tasks, *map(str, counts)])
    would = "would change" if check else "changed"
    titles = ["host", "duty", "system", would, *_KINDS, "restarts"]
    cells = list(zip(*rows, strict=True))
    table = [Column(t, c, _SPARE.get(t, 0)) for t, c in zip(titles, cells, strict=True)]
    console.show(grid(table, console.width()))
    by_role: dict[str, int] = {}
    for _host, task in result.changed:
        by_role[task.group] = by_role.get(task.group, 0) + 1
    steps: list[list[object]] = [["look, prepare", f"{prepared.seconds:.1f}", ""]]
    steps += [[role, f"{spent:.1f}", by_role.get(role, 0)] for role, spent in result.roles.items()]
    steps.append(["all", f"{prepared.seconds + result.seconds:.1f}", len(result.changed)])
    console.table("", ["step", "seconds", would], steps)


_SPARE = {"system": 2, "accounts": 1, "duty": 1}
_KINDS = {"packages": ("package",), "files": ("file",), "accounts": ("user", "group")}


def _next_step(
    cluster: Cluster, result: PlaybookResult, seconds: float, check: bool, option: str
) -> None:
    from mammoctl import console

    count = len(result.changed)
    if check:
        console.result(f"{cluster.name}: {count} changes would be made; nothing was touched")
    else:
        console.result(f"{cluster.name}: provisioned in {seconds:.0f} s, {count} changed")
        console.note(f"next: mammoctl verify {option}".rstrip())
        console.note(f"then: mammoctl data push FOLDER --name NAME {option}".rstrip())
    console.note(f"full log: {result.log}")


def register(app: typer.Typer) -> None:
    """Add ``provision`` to the command line."""
    app.command()(provision)
