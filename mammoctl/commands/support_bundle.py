"""``mammoctl support-bundle``: what whoever helps needs to see, in one archive without secrets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import Inventory, Json

if TYPE_CHECKING:
    from mammoctl.support.bundle import Collected


def support_bundle(
    *,
    inventory: Inventory = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The archive. Default: mammoctl-support-CLUSTER-TIME.tar.gz here.",
        ),
    ] = None,
    anonymous: Annotated[
        bool,
        typer.Option(
            "--anonymous", help="Replace names of hosts and people, and addresses, by others."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Collect what helps to find a fault, of all nodes and this machine, into one archive.

    Versions, the inventory, what check and status say, logs of runs, the services' journals and
    settings, disks, memory, ports, packages, names of jobs. Changes nothing. Passwords, keys,
    tokens and other secrets are taken out; data sets, images and their names are never taken.
    Nothing is sent: look through the archive, then send it yourself.

    Exit code: 1 when a node could not be asked, or not in full; the archive is written all the
    same, and says so.

    Examples:
        mammoctl support-bundle -i ward

        mammoctl support-bundle --anonymous --output ~/for-the-helpers.tar.gz
    """
    import time

    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.errors import Interrupted
    from mammoctl.support.bundle import collect

    cluster = inventories.load(inventory)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    called = "cluster" if anonymous else cluster.name
    target = (output or Path(f"mammoctl-support-{called}-{stamp}.tar.gz")).expanduser()
    try:
        done = collect(cluster, target, anonymous=anonymous, step=console.step)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; no archive was written") from None
    _tell(done)
    if as_json:
        console.result_json(done.as_json())
    else:
        _show(done)
    if not done.ok:
        raise typer.Exit(1)


def _tell(done: Collected) -> None:
    from mammoctl import console

    for error in [*done.nodes.values(), *(error for _part, error in done.missing)]:
        if error:
            console.error(error)
    if done.pseudonyms:
        told = ", ".join(f"{name} is {other}" for name, other in done.pseudonyms.items())
        console.note(f"only here, not in the archive: {told}")


def _show(done: Collected) -> None:
    from rich.filesize import decimal

    from mammoctl import console

    groups: dict[str, list[int]] = {}
    for entry in done.files:
        first, _slash, rest = entry.path.partition("/")
        group = f"{first}/{rest.partition('/')[0]}" if first == "nodes" else first
        groups.setdefault(group, []).append(entry.size)
    rows = [(group, len(sizes), decimal(sum(sizes))) for group, sizes in sorted(groups.items())]
    console.table("", ("what", "files", "size"), rows)
    count = sum(done.removed.values())
    console.result(f"{count} secrets were taken out (CONTENTS.md says of which kinds)")
    console.result(f"{done.path}: {decimal(done.path.stat().st_size)}, for you alone (mode 0600)")
    console.result(
        f"Look through it before you send it: tar -xzf {done.path}, then read CONTENTS.md"
    )


def register(app: typer.Typer) -> None:
    """Add ``support-bundle`` to the command line."""
    app.command("support-bundle")(support_bundle)
