"""``mammoctl cp``: files and folders to nodes, and from them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl import completion
from mammoctl.commands.options import Inventory

if TYPE_CHECKING:
    from rich.progress import Progress

    from mammoctl.errors import MammoctlError
    from mammoctl.inventory import Cluster, Host
    from mammoctl.ssh import Nodes
    from mammoctl.ssh.copy import Place


def cp(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="[NODE:]PATH, or several.",
            autocompletion=completion.places,
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="[NODE:]PATH. NODE may be a pattern or a group (all, spark_workers).",
            autocompletion=completion.places,
        ),
    ],
    *,
    inventory: Inventory = None,
    sudo: Annotated[bool, typer.Option("--sudo", "-s", help="As root on the nodes.")] = False,
    _recursive: Annotated[
        bool, typer.Option("--recursive", "-r", hidden=True, help="Folders always are.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
) -> None:
    """Copy files and folders to nodes, or from them, to all that are meant at once.

    A folder is copied with what is in it; an existing target folder gets it inside, as with cp.
    What comes from several nodes lies in TARGET/NODE. A file arrives whole or not at all.

    Examples:
        mammoctl cp site.conf all:/tmp/

        mammoctl cp --sudo site.conf spark_workers:/etc/site.conf

        mammoctl cp 'ward*:/var/log/apt/history.log' logs/
    """
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes, copy

    sources, to = [copy.place(text) for text in source], copy.place(target)
    remote = [one.nodes is not None for one in sources]
    if to.nodes is not None and any(remote):
        raise UsageError(
            "from node to node is two steps", hint="copy it here first, then to the other node"
        )
    if to.nodes is None and not all(remote):
        raise UsageError("no node is meant", hint="write NODE:PATH for what is on a node")
    cluster = inventories.load(inventory)
    began = time.monotonic()
    with Nodes(cluster) as nodes, console.progress(transfer=True) as bars:
        if to.nodes is not None:
            paths = [Path(one.path).expanduser() for one in sources]
            outcomes = _up(nodes, paths, to, sudo, bars)
        else:
            outcomes = _down(nodes, sources, Path(to.path).expanduser(), sudo, bars)
    _show(cluster, outcomes, time.monotonic() - began, as_json)


def _up(
    nodes: Nodes, sources: list[Path], target: Place, sudo: bool, bars: Progress
) -> Mapping[str, int | MammoctlError]:
    from mammoctl import targets
    from mammoctl.ssh import copy

    size = sum(copy.size(source) for source in sources)
    names = targets.choose(nodes.cluster, [target.nodes or ""])
    rows = {name: bars.add_task(name, total=size) for name in names}

    def one(node: Host) -> int:
        row = rows[node.name]
        copy.upload(
            nodes, node.name, sources, target.path, sudo=sudo,
            progress=lambda count: bars.advance(row, count),
        )  # fmt: skip
        return size

    return nodes.each(one, hosts=names)


def _down(
    nodes: Nodes, sources: list[Place], target: Path, sudo: bool, bars: Progress
) -> Mapping[str, int | MammoctlError]:
    from mammoctl import targets
    from mammoctl.errors import UsageError
    from mammoctl.ssh import copy

    wanted: dict[str, list[str]] = {}
    for source in sources:
        for name in targets.choose(nodes.cluster, [source.nodes or ""]):
            wanted.setdefault(name, []).append(source.path)
    several = len(wanted) > 1
    if several or len(sources) > 1:
        if target.exists() and not target.is_dir():
            raise UsageError(f"{target} is not a folder", hint="several files need one")
        target.mkdir(parents=True, exist_ok=True)
    elif not (target if target.is_dir() else target.parent).is_dir():
        raise UsageError(f"there is no folder {target.parent}", hint=f"mkdir -p {target.parent}")
    rows = {name: bars.add_task(name, total=None) for name in wanted}

    def one(node: Host) -> int:
        row, sizes = rows[node.name], [0]

        def total(count: int) -> None:
            sizes.append(count)
            bars.update(row, total=sum(sizes))

        into = target / node.name if several else target
        if several:
            into.mkdir(exist_ok=True)
        for path in wanted[node.name]:
            copy.download(
                nodes, node.name, path, into, sudo=sudo, total=total,
                progress=lambda count: bars.advance(row, count),
            )  # fmt: skip
        return sum(sizes)

    return nodes.each(one, hosts=list(wanted))


def _show(
    cluster: Cluster,
    outcomes: Mapping[str, int | MammoctlError],
    seconds: float,
    as_json: bool,
) -> None:
    from mammoctl import console
    from mammoctl.errors import MammoctlError

    nodes: list[dict[str, object]] = []
    for name, out in outcomes.items():
        if isinstance(out, MammoctlError):
            nodes.append({"name": name, "ok": False, "error": out.message, "hint": out.hint})
            if not as_json:
                console.error(out)
        else:
            nodes.append({"name": name, "ok": True, "bytes": out})
    if as_json:
        console.result_json(
            {"schema": 1, "cluster": cluster.name, "seconds": round(seconds, 3), "nodes": nodes}
        )
    elif done := {name: out for name, out in outcomes.items() if isinstance(out, int)}:
        size = sum(done.values()) / 1e6
        console.note(f"{', '.join(done)}: copied, {size:.1f} MB in {seconds:.1f} s")
    if not all(one["ok"] for one in nodes):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add ``cp`` to the command line."""
    app.command()(cp)
