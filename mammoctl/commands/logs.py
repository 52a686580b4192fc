"""``mammoctl logs``: what the cluster's services say, all nodes merged by time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.exec import Chosen
from mammoctl.commands.options import Inventory

if TYPE_CHECKING:
    from mammoctl.logs import Line

_GRAVE, _WARNING = 3, 4


def logs(
    nodes: Chosen = None,
    *,
    inventory: Inventory = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service", "-u", metavar="NAME",
            help="Only this one, such as spark-worker; may be repeated. By default all.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines", "-n", min=0, help="How many of the newest. 100, or all with --since."
        ),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Such as '10 min ago' or '09:30'.")
    ] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="The same.")] = "",
    priority: Annotated[
        str, typer.Option("--priority", "-p", help="Such as warning: it and what is graver.")
    ] = "",
    grep: Annotated[
        str, typer.Option("--grep", "-g", metavar="PATTERN", help="Only messages with this in.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON object per line on standard output.")
    ] = False,
) -> None:  # fmt: skip
    """Show what the services of the cluster have logged, all nodes merged by time.

    The services are HDFS, Spark, WireGuard and the guard of the ports; what a job says is in
    `mammoctl jobs logs`. Options are those of journalctl. With --follow a lost connection is made
    again.

    Exit code: 1 when a node could not be asked; the others are shown.

    Examples:
        mammoctl logs

        mammoctl logs -f -u spark-worker

        mammoctl logs ward2 --since '1 hour ago' -p warning
    """
    from mammoctl import console, targets
    from mammoctl import inventory as inventories
    from mammoctl import logs as journals
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes

    if follow and until:
        raise UsageError("--follow has no end", hint="leave out --until")
    if priority and priority not in (*journals.PRIORITIES, *"01234567"):
        raise UsageError(f"no priority {priority}", hint=f"one of {', '.join(journals.PRIORITIES)}")
    lines = lines if lines is not None else None if since else 100
    question = journals.Question(journals.units(service or []), lines, since, until, priority, grep)
    cluster = inventories.load(inventory)
    names = targets.choose(cluster, nodes or [])
    show = _shown(max(map(len, names)), as_json)
    with Nodes(cluster) as reached:
        found, failed = journals.read(reached, names, question)
        for line in found:
            show(line)
        for error in failed.values():
            console.error(error)
        if follow:
            coming = journals.follow(reached, names, question, after=found, on_trouble=console.warn)
            with suppress(KeyboardInterrupt), closing(coming):  # the ordinary end
                for line in coming:
                    show(line)
            return
    if not found and not failed:
        console.note("nothing was logged that matches")
    if failed:
        raise typer.Exit(1)


def _shown(width: int, as_json: bool) -> Callable[[Line], None]:
    """Return what shows an entry."""
    from mammoctl import console, logs

    def plain(line: Line) -> None:
        from rich.text import Text

        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.time))
        when += f".{int(line.time % 1 * 1000):03d}"
        head = f"{when} {line.node:{width}} {line.service:14} "
        style = "red" if line.priority <= _GRAVE else "yellow"
        first, *rest = logs.plain(line.message).splitlines() or [""]
        text = Text.assemble(
            (when, "dim"), " ", (f"{line.node:{width}}", "cyan"), f" {line.service:14} ",
            (first, style if line.priority <= _WARNING else ""),
        )  # fmt: skip
        for more in rest:
            text.append(f"\n{'':{len(head)}}{more}")
        console.out.print(text)

    return (lambda line: console.result_json_line(line.as_json())) if as_json else plain


def register(app: typer.Typer) -> None:
    """Add ``logs`` to the command line."""
    app.command()(logs)
