"""``mammoctl start``, ``stop`` and ``restart``: the services of a cluster or of some nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl import completion
from mammoctl.commands.options import Inventory, Json, again

if TYPE_CHECKING:
    from mammoctl.ansible.runner import PlaybookResult
    from mammoctl.services import Action, Outcome

Node = Annotated[
    list[str] | None,
    typer.Option(
        "--node",
        metavar="NODE",
        help="Only this node; may be repeated. By default all.",
        autocompletion=completion.hosts,
    ),
]
Wait = Annotated[
    float, typer.Option("--wait", min=1, metavar="SECONDS", help="Until all must be up.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, though work is broken off.")]


def start(
    *, inventory: Inventory = None, node: Node = None, wait: Wait = 300, as_json: Json = False
) -> None:
    """Start what is stopped, and wait until the cluster works.

    The guard of the ports and WireGuard first, then HDFS, then Spark. It has ended when every
    worker is registered with the master and every DataNode with the NameNode.

    Examples:
        mammoctl start

        mammoctl start --node ward2
    """
    _run("start", inventory, node or [], wait, yes=True, as_json=as_json)


def stop(
    *, inventory: Inventory = None, node: Node = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Stop Spark and HDFS until the next start or boot.

    Workers first, then the masters, then HDFS. Data stays; the ports stay guarded. Asks first
    when jobs or applications run.

    Examples:
        mammoctl stop

        mammoctl stop --node ward2 --yes
    """
    _run("stop", inventory, node or [], 60, yes=yes, as_json=as_json)


def restart(
    *,
    inventory: Inventory = None,
    node: Node = None,
    wait: Wait = 300,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stop and start again, in order, and wait until the cluster works.

    Examples:
        mammoctl restart

        mammoctl restart --node ward2
    """
    _run("restart", inventory, node or [], wait, yes=yes, as_json=as_json)


def _run(
    action: Action,
    inventory: str | None,
    chosen: list[str],
    wait_s: float,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    from mammoctl import console, lock, services, targets
    from mammoctl import inventory as inventories
    from mammoctl.ansible.runner import run_playbook
    from mammoctl.ssh import Nodes
    from mammoctl.status.gather import gather

    cluster = inventories.load(inventory)
    names = targets.choose(cluster, chosen)

    def playbook(verb: str, limit: str | None) -> PlaybookResult:
        return run_playbook(verb, cluster, limit=limit, title=f"{verb} {limit or cluster.name}")

    with Nodes(cluster) as nodes, lock.held(nodes, action, option=again(inventory)):
        before = gather(nodes, answer_s=15)
        services.require(before, names, action, option=again(inventory))
        if action != "start" and (work := services.work(before)):
            one = len(work) == 1
            console.warn(f"{', '.join(work)} {'runs' if one else 'run'} and may fail")
            console.confirm(f"{action.capitalize()} all the same?", yes=yes, as_json=as_json)
        outcome = services.run(
            before, names, action, playbook, lambda: gather(nodes, answer_s=15), wait_s=wait_s
        )
    if as_json:
        console.result_json(outcome.as_json())
    else:
        _show(outcome)


def _show(outcome: Outcome) -> None:
    from mammoctl import console, services

    done = {"start": "started", "stop": "stopped", "restart": "restarted"}[outcome.action]
    rows = []
    for name in outcome.nodes:
        now = services.running(outcome.after, name)
        changed = outcome.changed[name]
        rows.append([name, ", ".join(changed) or "nothing", ", ".join(now) or "nothing"])
    console.table("", ["node", done, "runs now"], rows)
    count = sum(len(changed) for changed in outcome.changed.values())
    where = outcome.after.cluster.name
    told = f"{count} services {done}" if count else f"nothing to {outcome.action}"
    console.result(f"{where}: {told}, {outcome.seconds:.0f} s")
    if outcome.action == "stop" and count:
        console.note("they start again at the next boot, or with: mammoctl start")


def register(app: typer.Typer) -> None:
    """Add the three commands to the command line."""
    for command in (start, stop, restart):
        app.command()(command)
