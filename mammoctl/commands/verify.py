"""``mammoctl verify``: prove that a cluster works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.options import Inventory, Json

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster
    from mammoctl.verify.run import Check, Verdict


def verify(
    *,
    inventory: Inventory = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", metavar="ROLE", help="Check only this role; may be repeated."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write a JUnit file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every node of a cluster, and run a real job on all of its workers.

    Exit code: 0 all is well, 1 a check failed, 2 it could not be checked.
    """
    from mammoctl import console
    from mammoctl.errors import Interrupted, MammoctlError
    from mammoctl.verify.run import NotChecked

    try:
        cluster, verdict = _run(inventory, role or [], junit, as_json)
    except Interrupted:
        raise
    except MammoctlError as exc:
        if as_json:
            console.result_json(
                {
                    "schema": 1,
                    "ok": None,
                    "error": exc.message,
                    "details": exc.details,
                    "hint": exc.hint,
                }
            )
        raise NotChecked(exc.message, hint=exc.hint, details=exc.details) from exc
    if as_json:
        counts = {name: verdict.count(name) for name in ("passed", "failed", "error", "skipped")}
        told = {"schema": 1, "ok": verdict.exit_code == 0}
        console.result_json({**told, **counts, **verdict.model_dump()})
    else:
        _show(cluster, verdict)
    if verdict.exit_code:
        raise typer.Exit(verdict.exit_code)


def _run(
    selector: str | None, roles: list[str], junit: Path | None, as_json: bool
) -> tuple[Cluster, Verdict]:
    from mammoctl import cluster as clusters
    from mammoctl import console, paths
    from mammoctl import inventory as inventories
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes, require_all
    from mammoctl.verify import run

    known = sorted(
        path.stem.removeprefix("test_")
        for path in (paths.project_root() / "tests" / "infra").glob("test_*.py")
    )
    if wrong := [role for role in roles if role not in known]:
        raise UsageError(f"unknown role: {wrong[0]}", hint=f"choose from {', '.join(known)}")
    if junit and not junit.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {junit.absolute().parent} for the JUnit file")
    cluster = inventories.load(selector)
    console.step(f"Verifying {cluster.name}: {', '.join(cluster.hosts)}")
    with Nodes(cluster) as nodes:
        require_all(nodes.run_all(["true"], sudo=True))
        clusters.read(nodes)
        with console.progress() as bars:
            bar = bars.add_task("starting", total=None)
            told: set[str] = set()

            def ended(check: Check) -> None:
                bars.update(bar, advance=1, description=f"{check.role} on {check.host}")
                if check.outcome in ("failed", "error"):
                    first = check.seen.partition("\n")[0]
                    line = f"failed: {check.role} on {check.host}: {first}"
                    if line not in told:  # one cause may fail many checks
                        told.add(line)
                        bars.console.print(line, markup=False)

            verdict = run.run(
                cluster,
                nodes.ssh_config,
                junit=junit,
                roles=roles,
                on_total=lambda total: bars.update(bar, total=total),
                on_check=ended,
            )
    if as_json:
        console.note(f"{verdict.seconds:.0f} s")
    return cluster, verdict


def _show(cluster: Cluster, verdict: Verdict) -> None:
    from mammoctl import console
    from mammoctl.columns import grid
    from mammoctl.verify import report

    width = console.width()
    table = report.table(verdict, list(cluster.hosts), width)
    console.show(grid(table, width, {"skipped": "dim"}))
    console.result("")
    for line in [*report.failures(verdict), *report.skipped(verdict)]:
        console.result(line)
    if verdict.trouble:
        console.result("the checks could not be run:")
        console.result(verdict.trouble)
    console.result(report.summary(verdict))


def register(app: typer.Typer) -> None:
    """Add ``verify`` to the command line."""
    app.command()(verify)
