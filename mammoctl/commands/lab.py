"""``mammoctl lab``: real machines on this one, to try a cluster on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="Real machines on this one (systemd-nspawn), to try a cluster on. Needs root.",
)

Name = Annotated[str, typer.Option("--name", help="Name of the lab; its nodes are NAME1, NAME2.")]


@contextmanager
def _interruptible() -> Iterator[None]:
    from mammoctl.errors import Interrupted

    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint="run the same command again to go on") from None


@app.command()
def up(
    name: Name = "lab",
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=1, max=200, help="Number of nodes (3).")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            help="debian12 (default), debian13, ubuntu22.04, ubuntu24.04 or ubuntu26.04; "
            "a comma list gives each node its own.",
        ),
    ] = None,
    mirror: Annotated[
        str | None, typer.Option("--mirror", help="Package mirror for the base image.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", help="Memory of a node, such as 4g; a comma list for each. At most 6g each."
        ),
    ] = None,
    cpus: Annotated[
        str | None,
        typer.Option("--cpus", help="Cores of a node, such as 2 or 0.6; a comma list for each."),
    ] = None,
    subnet: Annotated[
        str | None, typer.Option("--subnet", help="Private network of the lab (10.177.33.0/24).")
    ] = None,
) -> None:
    """Bring the lab up, or what is missing of it, and write inventory/NAME."""
    from mammoctl.lab import lab, system

    system.require_root("mammoctl lab up")
    request = lab.Request(name, nodes, image, mirror, memory, cpus, subnet)
    with _interruptible():
        lab.up(request, Path("inventory") / name)


@app.command()
def down(name: Name = "lab") -> None:
    """Remove the lab and everything it made."""
    from mammoctl import console
    from mammoctl.lab import lab, system

    system.require_root("mammoctl lab down")
    with _interruptible():
        if not lab.down(name):
            console.note(f"there is no lab {name!r}: nothing to remove")


def register(parent: typer.Typer) -> None:
    """Add ``lab`` to the command line."""
    parent.add_typer(app, name="lab")
