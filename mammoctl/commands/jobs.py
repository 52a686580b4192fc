"""``mammoctl jobs``: the jobs of a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammoctl.commands.submit import Inventory, Json, ResultsDir, option

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

app = typer.Typer(no_args_is_help=True, help="List, watch and end the jobs of a cluster.")

Job = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job, or `latest`.")]


@contextmanager
def _connected(inventory: str | None) -> Iterator[Nodes]:
    from mammoctl import cluster as clusters
    from mammoctl import inventory as inventories
    from mammoctl.errors import Interrupted, MammoctlError
    from mammoctl.jobs.failures import outside
    from mammoctl.ssh import Nodes

    try:
        with Nodes(inventories.load(inventory)) as nodes:
            clusters.read(nodes)
            yield nodes
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint="jobs on the cluster go on") from None
    except MammoctlError as exc:
        raise outside(exc) from exc


def _resolve(nodes: Nodes, job: str) -> str:
    from mammoctl.errors import UsageError
    from mammoctl.jobs.submit import list_jobs

    if job != "latest":
        return job
    jobs = list_jobs(nodes)
    if not jobs:
        raise UsageError("there are no jobs", hint="start one with `mammoctl submit`")
    return str(jobs[-1]["spec"]["id"])


def _when(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(float(seconds))) if seconds else ""


def _duration(state: dict[str, Any]) -> str:
    begin, end = state.get("started_at"), state.get("finished_at")
    return f"{end - begin:.0f} s" if begin and end else ""


@app.command("list")
def list_(inventory: Inventory = None, as_json: Json = False) -> None:
    """List the jobs of the cluster, oldest first."""
    from mammoctl import console
    from mammoctl.jobs.submit import list_jobs

    with _connected(inventory) as nodes:
        jobs = list_jobs(nodes)
    if as_json:
        console.result_json({"schema": 1, "jobs": jobs})
        return
    rows = [
        (
            item["spec"]["id"],
            item["state"]["state"],
            item["spec"].get("data", ""),
            _when(item["spec"].get("submitted_at")),
            _duration(item["state"]),
        )
        for item in jobs
    ]
    console.table("", ("job", "state", "data", "submitted", "took"), rows)


@app.command()
def show(job: Job, inventory: Inventory = None, as_json: Json = False) -> None:
    """Show what a job was asked to do and what became of it."""
    from mammoctl import console
    from mammoctl.jobs import submit as jobs

    with _connected(inventory) as nodes:
        record = jobs.show(nodes, _resolve(nodes, job))
    if as_json:
        console.result_json({"schema": 1, **record})
        return
    spec, state = record["spec"], record["state"]
    rows = [("state", state["state"])]
    rows += [("reason", state["reason"])] if state.get("reason") else []
    rows += [("exit code", str(state["exit_code"]))] if "exit_code" in state else []
    rows += [(key, str(spec.get(key))) for key in ("data", "backbone", "epochs", "seed")]
    rows += [("weights", (spec.get("weights") or {}).get("name", "none"))]
    rows += [("submitted", f"{_when(spec.get('submitted_at'))} by {spec.get('submitted_by')}")]
    rows += [("took", _duration(state))]
    console.table(f"job {spec['id']}", ("", ""), rows)


@app.command()
def attach(
    job: Job,
    results: ResultsDir = Path("results"),
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Watch a job to its end and fetch its results; the exit code is the job's own."""
    from mammoctl import console
    from mammoctl.jobs import submit as jobs
    from mammoctl.jobs.watch import report, watch

    with _connected(inventory) as nodes:
        name = str(jobs.show(nodes, _resolve(nodes, job))["spec"]["id"])
        outcome = watch(nodes, name, results, option=option(inventory))
        if as_json:
            console.result_json(outcome.document())
        else:
            report(nodes, outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def logs(
    job: Job,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many.")] = 200,
    inventory: Inventory = None,
) -> None:
    """Print the last lines of a job's log."""
    from mammoctl import console
    from mammoctl.jobs import submit as jobs

    with _connected(inventory) as nodes:
        name = str(jobs.show(nodes, _resolve(nodes, job))["spec"]["id"])
        for line in jobs.log_tail(nodes, name, lines):
            console.result(line)


@app.command()
def kill(job: Job, inventory: Inventory = None) -> None:
    """End a running job."""
    from mammoctl import console
    from mammoctl.jobs import submit as jobs

    with _connected(inventory) as nodes:
        state = jobs.kill(nodes, _resolve(nodes, job))["state"]
    reason = f" ({state['reason']})" if state.get("reason") else ""
    console.note(f"job {state['id']} is {state['state']}{reason}")


@app.command()
def results(job: Job, into: ResultsDir = Path("results"), inventory: Inventory = None) -> None:
    """Fetch the results of a job (again)."""
    from mammoctl import console
    from mammoctl.errors import UsageError
    from mammoctl.jobs import submit as jobs
    from mammoctl.jobs.results import fetch

    with _connected(inventory) as nodes:
        record = jobs.show(nodes, _resolve(nodes, job))
        if record["state"]["state"] in ("submitted", "running"):
            raise UsageError(
                f"the job {record['spec']['id']} is still {record['state']['state']}",
                hint=f"watch it to its end: `mammoctl jobs attach {record['spec']['id']}`",
            )
        fetched = fetch(nodes, str(record["spec"]["id"]), into)
    console.result(str(fetched.folder))


def register(root: typer.Typer) -> None:
    """Add the group of commands."""
    root.add_typer(app, name="jobs")
