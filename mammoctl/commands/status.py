"""``mammoctl status``: a cluster at one glance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import Inventory

if TYPE_CHECKING:
    from mammoctl.status.state import ClusterState


def status(
    *,
    inventory: Inventory = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again and again until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.5, metavar="SECONDS", help="Pause of --watch.")
    ] = 5.0,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="How many recent jobs.")] = 5,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.5, metavar="SECONDS", help="Wait for an answer.")
    ] = 5.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on standard output; a line per look with --watch.")
    ] = False,
) -> None:
    """Show nodes, services, storage, applications and recent jobs; changes nothing.

    Exit code: 0 all is as it should be, 1 something is to be mended.

    Examples:
        mammoctl status

        mammoctl status --watch

        mammoctl status --json | jq '.findings[].seen'
    """
    threading.Thread(target=_warm_up).start()
    from mammoctl import inventory as inventories
    from mammoctl.ssh import Nodes
    from mammoctl.status.gather import CONNECT_S, gather

    cluster = inventories.load(inventory)
    with Nodes(cluster, connect_s=CONNECT_S, answer_s=timeout) as nodes:
        if watch:
            with suppress(KeyboardInterrupt):  # the ordinary end
                _watch(lambda: gather(nodes, jobs=jobs, answer_s=timeout), every, as_json)
            return
        state = gather(nodes, jobs=jobs, answer_s=timeout)
        _show(state, as_json)
    if not state.ok:
        raise typer.Exit(1)


def _warm_up() -> None:
    """Import what is needed later while Ansible, a process of its own, reads the inventory."""
    import fabric  # noqa: F401
    import rich.table  # noqa: F401

    from mammoctl import role_settings
    from mammoctl.bundle import versions

    versions.load()
    for role in ("hdfs", "spark"):
        role_settings.defaults(role)


def _show(state: ClusterState, as_json: bool) -> None:
    from mammoctl import console
    from mammoctl.status import document, render

    if as_json:
        console.result_json(document.document(state))
    else:
        console.show(render.view(state, console.width()))


def _watch(look: Callable[[], ClusterState], every: float, as_json: bool) -> None:
    """Look until Ctrl-C: one screen on a terminal, one after the other elsewhere."""
    from mammoctl import console
    from mammoctl.status import document, render

    on_terminal = console.out.is_terminal and not as_json
    with console.screen() if on_terminal else nullcontext(console.show) as show:
        while True:
            state = look()
            if as_json:
                console.result_json_line(document.document(state))
            else:
                show(render.view(state, console.width()))
            time.sleep(every)


def register(app: typer.Typer) -> None:
    """Add ``status`` to the command line."""
    app.command()(status)
