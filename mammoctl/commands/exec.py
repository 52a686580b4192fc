"""``mammoctl exec``: a command on all nodes or some, at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl import completion
from mammoctl.commands.options import Inventory
from mammoctl.commands.words import Split, behind, command

if TYPE_CHECKING:
    from mammoctl.errors import MammoctlError
    from mammoctl.ssh.live import Ended, Heard

_UNREACHED = 255
_OVERDUE = 124

Chosen = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NODE",
        help="Names, patterns such as 'ward*', or groups such as spark_workers. By default all.",
        autocompletion=completion.targets,
    ),
]


def exec_(
    ctx: typer.Context,
    nodes: Chosen = None,
    *,
    inventory: Inventory = None,
    sudo: Annotated[bool, typer.Option("--sudo", "-s", help="As root.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0.1, metavar="SECONDS", help="End it then. Default: never."),
    ] = None,
    group: Annotated[
        bool, typer.Option("--group", "-g", help="Wait; tell what several nodes say alike once.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
) -> None:
    """Run a command on all nodes or some, at once: mammoctl exec [NODE]... -- COMMAND.

    A single word is a line of sh, with pipes and variables of the node. Each line of output says
    which node it is from; that of a single node comes as it is. The command has no input.

    Exit code: the worst of all nodes; 255 where a node was not reached, 124 after --timeout.

    Examples:
        mammoctl exec -- uptime

        mammoctl exec --group -- 'free -m | tail -2'

        mammoctl exec --sudo spark_workers -- systemctl restart spark-worker
    """
    threading.Thread(target=_warm_up).start()
    from mammoctl import console, targets
    from mammoctl import inventory as inventories
    from mammoctl.errors import Interrupted, UsageError
    from mammoctl.ssh import Nodes, live

    said = behind(ctx)
    if not said:
        raise UsageError("no command", hint="mammoctl exec [NODE]... -- COMMAND")
    cluster = inventories.load(inventory)
    names = targets.choose(cluster, nodes or [])
    at_once = not (group or as_json)
    with Nodes(cluster) as reached:
        try:
            outcomes = live.run(
                reached, names, command(said),
                sudo=sudo, timeout=timeout, keep=not at_once,
                heard=_heard(alone=len(names) == 1) if at_once else None,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted("interrupted; the command has been ended on the nodes") from None
    codes = {name: _code(out) for name, out in outcomes.items()}
    if as_json:
        console.result_json(_document(cluster.name, said, outcomes, codes))
    else:
        if group:
            _show_groups(outcomes)
        _tell_failures(outcomes, codes)
    raise typer.Exit(max(codes.values()))


def _warm_up() -> None:
    """Import what is needed later while Ansible, a process of its own, reads the inventory."""
    import mammoctl.ssh.live  # noqa: F401


def _code(outcome: Ended | MammoctlError) -> int:
    from mammoctl.ssh.live import Ended, Overdue

    if isinstance(outcome, Ended):
        return outcome.rc
    return _OVERDUE if isinstance(outcome, Overdue) else _UNREACHED


def _heard(*, alone: bool) -> Heard:
    from mammoctl import console

    def line(name: str, is_error: bool, text: str) -> None:
        console.line_from("" if alone else name, text, is_error=is_error)

    return line


def _show_groups(outcomes: Mapping[str, Ended | MammoctlError]) -> None:
    """Show what each said, equal outcomes once, in the order of the nodes."""
    from mammoctl import console
    from mammoctl.ssh.live import Ended

    told: dict[tuple[int, str, str], list[str]] = {}
    for name, out in outcomes.items():
        if isinstance(out, Ended):
            told.setdefault((out.rc, out.stdout, out.stderr), []).append(name)
    for (rc, stdout, stderr), names in told.items():
        console.heading(", ".join(names) + (f" (exit code {rc})" if rc else ""))
        for text, is_error in ((stdout, False), (stderr, True)):
            for line in text.splitlines():
                console.line_from("", line, is_error=is_error)


def _tell_failures(outcomes: Mapping[str, Ended | MammoctlError], codes: Mapping[str, int]) -> None:
    from mammoctl import console
    from mammoctl.errors import MammoctlError

    for out in outcomes.values():
        if isinstance(out, MammoctlError):
            console.error(out)
    failed = [f"{name} ({code})" for name, code in codes.items() if code]
    if failed and len(outcomes) > 1:
        console.note(
            f"{len(failed)} of {len(outcomes)} nodes failed (exit code): " + ", ".join(failed)
        )


def _document(
    cluster: str,
    words: list[str],
    outcomes: Mapping[str, Ended | MammoctlError],
    codes: Mapping[str, int],
) -> dict[str, object]:
    from mammoctl.errors import MammoctlError

    nodes: list[dict[str, object]] = []
    for name, out in outcomes.items():
        about: dict[str, object] = {"name": name, "exit_code": codes[name]}
        if isinstance(out, MammoctlError):
            about |= {"reached": False, "error": out.message, "hint": out.hint}
        else:
            about |= {"reached": True, "stdout": out.stdout, "stderr": out.stderr}
            about["seconds"] = round(out.seconds, 3)
        nodes.append(about)
    return {
        "schema": 1,
        "cluster": cluster,
        "command": words,
        "exit_code": max(codes.values()),
        "nodes": nodes,
    }


def register(app: typer.Typer) -> None:
    """Add ``exec`` to the command line."""
    app.command(name="exec", cls=Split)(exec_)
