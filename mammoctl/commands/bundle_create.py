"""``mammoctl bundle create``: what nodes need, resolved and fetched before they are there."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mammoctl.bundle import Sources, Target
    from mammoctl.python_runtime import Wish

Inventory = Annotated[
    str | None,
    typer.Option(
        "--inventory", "-i", metavar="NAME|PATH", help="For the choices of this inventory."
    ),
]


def create(
    *,
    python: Annotated[
        str | None,
        typer.Option("--python", help="The nodes' Python [3.11, or the managed one's]."),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="x86_64 or aarch64 [this machine's].")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", help="cpu or gpu; repeat it for a mixed cluster [cpu]."),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option("--runtime", help="system: the nodes' own Python; managed: one goes along."),
    ] = "system",
    interpreter: Annotated[
        Path | None,
        typer.Option("--interpreter", help="An archive with a managed Python of your own."),
    ] = None,
    packages: Annotated[
        list[str] | None,
        typer.Option(
            "--packages",
            metavar="RELEASE,...",
            help="Bring the Debian packages for these, such as debian12,ubuntu24.04; `hosts`: for "
            "what the hosts of -i run.",
        ),
    ] = None,
    package: Annotated[
        list[str] | None,
        typer.Option("--package", metavar="NAME", help="A further Debian package; repeat it."),
    ] = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            metavar="ARCHIVE=URL",
            help="Where Debian packages are: debian, debian-security, ubuntu, ubuntu-security.",
        ),
    ] = None,
    update_packages: Annotated[
        bool,
        typer.Option("--update-packages", help="Resolve Debian packages anew, as of today."),
    ] = False,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="BACKBONE",
            help="Bring its ImageNet weights, for `submit --weights imagenet` there.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.tar|FOLDER", help="Write the bundle there, to carry."
        ),
    ] = None,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Resolve and fetch what nodes need, before they are there.

    `mammoctl provision` does it by itself for the nodes that it finds. Files that are there
    already are not fetched again; after an interruption run the same command again.

    Example, for a closed network: mammoctl bundle create --packages debian12 -o site.tar; there:
    mammoctl provision --bundle site.tar
    """
    import platform

    from mammoctl import console, python_runtime, sourcing
    from mammoctl import inventory as inventories
    from mammoctl.bundle import Sources, Target, apt, archive, debian, ensure_bundle, report

    mirrors, releases = apt.mirrors(mirror or []), debian.releases(packages or [])
    if interpreter is not None:
        runtime = "managed"
    wanted, sources = python_runtime.Wish(runtime, interpreter), None
    if inventory is not None:
        cluster = inventories.load(inventory)
        sources = sourcing.sources(cluster, {})
        declared = python_runtime.wish(cluster, {})
        if runtime == "system" and declared.runtime == "managed":
            wanted = declared
    started = time.monotonic()
    chosen = _with_packages(sources or Sources(), releases, package or [])
    chosen = replace(chosen, weights=tuple(sorted({*(weights or [])})))
    if debian.HOSTS in chosen.packages:
        target = _for_hosts(inventory, wanted, chosen)
    else:
        chosen, python = python_runtime.chosen(wanted, python, arch or platform.machine(), chosen)
        target = Target(python, arch or platform.machine(), tuple(variant or ["cpu"]), chosen)
    bundle = ensure_bundle(target, mirrors=mirrors, update_packages=update_packages)
    digest = archive.write(bundle, output) if output else ""
    if as_json:
        written = {"output": output.absolute(), "sha256": digest} if output else {}
        console.result_json(report.summary(bundle) | written)
        return
    report.show(bundle)
    if output:
        console.result(f"{output}: sha256 {digest}")
    console.note(f"{bundle.path} ({time.monotonic() - started:.1f} s)")


def _with_packages(sources: Sources, releases: Sequence[str], extra: Sequence[str]) -> Sources:
    """Add what the command line says of Debian packages to what the inventory says.

    Raises:
        UsageError: packages are named and no release.
    """
    from mammoctl.errors import UsageError

    releases = tuple(releases) or sources.packages
    if extra and not releases:
        raise UsageError("--package needs --packages", hint="such as --packages debian12")
    extra = tuple(sorted({*sources.packages_extra, *extra})) if releases else ()
    return replace(sources, packages=releases, packages_extra=extra)


def _for_hosts(inventory: str | None, wanted: Wish, sources: Sources) -> Target:
    """Look at the hosts of an inventory and return what they need."""
    from mammoctl import become, console, probe, python_runtime
    from mammoctl import inventory as inventories
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes

    if inventory is None:
        raise UsageError("--packages hosts needs the hosts' inventory", hint="name it with -i")
    cluster = inventories.load(inventory)
    console.step(f"Looking at {', '.join(cluster.hosts)}")
    with Nodes(cluster) as nodes:
        facts = probe.probe(nodes)
    if wanted.runtime != "managed":
        wanted = python_runtime.wish(cluster, {})
    return probe.choose_target(
        facts,
        runtime=wanted.runtime,
        managed=python_runtime.managed(wanted),
        sources=sources,
        asking=become.asking(cluster),
        room_mb=probe.room_needed(cluster, {}),
    )
