"""``mammoctl lab``: real machines on this one, to try a cluster on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands import words
from mammoctl.commands.app import App

if TYPE_CHECKING:
    from mammoctl.lab.state import LabState

app = App(
    help="Real machines on this one (systemd-nspawn), to try a cluster on. Needs root.",
)

Name = Annotated[str, typer.Option("--name", help="Name of the lab; its nodes are NAME1, NAME2.")]
Nodes = Annotated[list[str] | None, typer.Argument(metavar="NODE", help="All by default.")]


@contextmanager
def _interruptible() -> Iterator[None]:
    from mammoctl.errors import Interrupted

    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint="run the same command again to go on") from None


@contextmanager
def _held(name: str, command: str) -> Iterator[LabState]:
    """Hold a complete lab for a command that changes it."""
    from mammoctl.errors import LabError
    from mammoctl.lab import lab, state, system

    system.require_root(command)
    system.require_system()
    with _interruptible(), lab.locked(name):
        there = state.require(name)
        if not there.complete:
            raise LabError(
                f"`lab up` of {name!r} has not ended", hint=f"mammoctl lab up --name {name}"
            )
        yield there


@app.command()
def up(
    *,
    name: Name = "lab",
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=1, max=200, help="Number of nodes [3].")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            help="debian12, debian13, ubuntu22.04, ubuntu24.04 or ubuntu26.04 [debian12]; "
            "a comma list gives each node its own.",
        ),
    ] = None,
    mirror: Annotated[
        str | None, typer.Option("--mirror", help="Package mirror for the base image.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            help="Memory limit of a node, such as 4g; a comma list for each "
            "[6g, or a fair share of the machine].",
        ),
    ] = None,
    cpus: Annotated[
        str | None,
        typer.Option(
            "--cpus", help="Cores of a node, such as 2 or 0.6; a comma list for each [all]."
        ),
    ] = None,
    subnet: Annotated[
        str | None, typer.Option("--subnet", help="Private network of the lab [10.177.33.0/24].")
    ] = None,
    closed: Annotated[
        bool | None,
        typer.Option(
            "--closed/--open",
            help="Closed: the nodes reach each other alone; what they send elsewhere is counted.",
        ),
    ] = None,
) -> None:
    """Bring the lab up, or what is missing of it, and write inventory/NAME."""
    from mammoctl.lab import lab, system
    from mammoctl.lab.plan import Request

    system.require_root("mammoctl lab up")
    request = Request(name, nodes, image, mirror, memory, cpus, subnet, closed)
    with _interruptible():
        lab.up(request, Path("inventory") / name)


@app.command()
def down(name: Name = "lab") -> None:
    """Remove the lab and everything it made, snapshots too."""
    from mammoctl import console
    from mammoctl.lab import lab, system

    system.require_root("mammoctl lab down")
    with _interruptible():
        if not lab.down(name):
            console.note(f"there is no lab {name!r}: nothing to remove")


@app.command()
def status(
    name: Name = "lab",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Show the lab's nodes, their limits and the snapshots."""
    from mammoctl import console
    from mammoctl.lab import report, state

    there = state.require(name)
    found = report.describe(there)
    if as_json:
        console.result_json(found)
        return
    title = f"lab {name}, {there.subnet}" + ("" if there.complete else " (lab up has not ended)")
    console.table(title, report.COLUMNS, report.rows(found))
    console.result("snapshots: " + (", ".join(there.snapshots) or "none"))
    if (outside := found["outside"]) is not None:
        console.result(
            f"closed: {outside['forwarded']} packets to other networks rejected, "
            f"{outside['control_machine']} to this machine"
        )
    for folder in there.inventories:
        console.result(f"inventory: {folder}")


@app.command(name="exec", cls=words.Split)
def exec_(ctx: typer.Context, nodes: Nodes = None, name: Name = "lab") -> None:
    """Run a command on nodes over SSH: mammoctl lab exec [NODE]... -- COMMAND.

    With one node named, its input and output are this terminal's. Otherwise every line says which
    node it is from, and the exit code is the worst of all.
    """
    import shlex

    from mammoctl import console
    from mammoctl.errors import UsageError
    from mammoctl.lab import remote, state

    said = words.behind(ctx)
    if not said:
        raise UsageError("no command", hint="mammoctl lab exec [NODE]... -- COMMAND")
    command = said[0] if len(said) == 1 else shlex.join(said)
    there = state.require(name)
    chosen = [there.node(node) for node in nodes] if nodes else there.nodes
    with _interruptible():
        if nodes and len(nodes) == 1:
            raise typer.Exit(remote.run_through(there, chosen[0], command))
        outcomes = remote.run_on(there, chosen, command)
    for outcome in outcomes:
        for line in outcome.stdout.splitlines():
            console.result(f"{outcome.node}: {line}")
        for line in outcome.stderr.splitlines():
            console.note(f"{outcome.node}: {line}")
        if outcome.code:
            console.note(f"{outcome.node}: exit code {outcome.code}")
    raise typer.Exit(max(outcome.code for outcome in outcomes))


@app.command()
def stop(
    nodes: Nodes = None,
    name: Name = "lab",
    kill: Annotated[bool, typer.Option("--kill", help="Like pulling the plug.")] = False,
) -> None:
    """Switch nodes off."""
    from mammoctl.lab import lab

    with _held(name, "mammoctl lab stop") as there:
        lab.stop(there, [there.node(one) for one in nodes] if nodes else there.nodes, kill=kill)


@app.command()
def start(nodes: Nodes = None, name: Name = "lab") -> None:
    """Switch nodes on and wait until they take logins."""
    from mammoctl.lab import lab

    with _held(name, "mammoctl lab start") as there:
        lab.boot(there, [there.node(one) for one in nodes] if nodes else there.nodes)


@app.command()
def snapshot(
    snapshot_name: Annotated[str, typer.Argument(metavar="SNAPSHOT")],
    name: Name = "lab",
    replace: Annotated[bool, typer.Option("--replace", help="An older one may go.")] = False,
) -> None:
    """Keep the state of all nodes; they are restarted."""
    from mammoctl.lab import snapshots

    with _held(name, "mammoctl lab snapshot") as there:
        snapshots.take(there, snapshot_name, replace=replace)


@app.command()
def restore(
    snapshot_name: Annotated[str, typer.Argument(metavar="SNAPSHOT")], name: Name = "lab"
) -> None:
    """Bring all nodes back to a snapshot; what they did since is dropped."""
    from mammoctl.lab import snapshots

    with _held(name, "mammoctl lab restore") as there:
        snapshots.restore(there, snapshot_name)


def register(parent: typer.Typer) -> None:
    """Add ``lab`` to the command line."""
    parent.add_typer(app, name="lab")
