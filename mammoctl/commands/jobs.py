"""``mammoctl jobs``: the jobs of a cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammoctl import completion
from mammoctl.commands.app import App
from mammoctl.commands.job_options import ResultsDir
from mammoctl.commands.options import Inventory, Json, Yes, again

if TYPE_CHECKING:
    from mammoctl.jobs.watch import Outcome
    from mammoctl.ssh import Nodes

app = App(help="List, watch, end and resume the jobs of a cluster.")

Job = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Id of a job, its last four digits, or `latest`.",
        autocompletion=completion.jobs,
    ),
]


@contextmanager
def _connected(inventory: str | None) -> Iterator[Nodes]:
    from mammoctl import cluster as clusters
    from mammoctl import inventory as inventories
    from mammoctl.errors import Interrupted, MammoctlError
    from mammoctl.jobs import notify
    from mammoctl.jobs.failures import outside
    from mammoctl.ssh import Nodes

    try:
        with Nodes(inventories.load(inventory)) as nodes:
            clusters.read(nodes)
            notify.settle(nodes)
            yield nodes
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint="jobs on the cluster go on") from None
    except MammoctlError as exc:
        raise outside(exc) from exc


def _when(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(float(seconds))) if seconds else ""


def _duration(state: dict[str, Any]) -> str:
    begin, end = state.get("started_at"), state.get("finished_at")
    return f"{end - begin:.0f} s" if begin and end else ""


def _what(spec: dict[str, Any]) -> str:
    return str(spec.get("script") or spec.get("data") or spec.get("images") or "")


@app.command("list")
def list_(
    state: Annotated[
        list[str] | None,
        typer.Option("--state", help="Only these. May be repeated.", show_default=False),
    ] = None,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """List the jobs of the cluster, oldest first, whoever submitted them.

    Examples:
        mammoctl jobs list

        mammoctl jobs list --state running --state queued
    """
    from mammoctl import console
    from mammoctl.errors import UsageError
    from mammoctl.jobs.known import list_jobs
    from mammoctl.jobs.remote.records import ALIVE, ENDED

    if unknown := set(state or ()) - {*ALIVE, *ENDED}:
        raise UsageError(
            f"no job is ever {', '.join(sorted(unknown))}",
            hint=f"the states are {', '.join((*ALIVE, *ENDED))}",
        )
    with _connected(inventory) as nodes:
        jobs = [j for j in list_jobs(nodes) if not state or j["state"]["state"] in state]
    if as_json:
        console.result_json({"schema": 1, "jobs": jobs})
        return
    if not jobs:
        which = f"no job is {' or '.join(state)}" if state else "there is no job yet"
        console.note(f"{which}: mammoctl submit starts one")
        return
    rows = [
        (
            item["spec"]["id"],
            item["state"]["state"],
            _what(item["spec"]),
            str(item["spec"].get("submitted_by", "")),
            _when(item["spec"].get("submitted_at")),
            _duration(item["state"]),
            str(item["state"].get("reason") or ""),
        )
        for item in jobs
    ]
    console.table("", ("job", "state", "what", "by", "submitted", "took", "because"), rows)


@app.command()
def show(job: Job, inventory: Inventory = None, as_json: Json = False) -> None:
    """Show what a job was asked to do and what became of it.

    Examples:
        mammoctl jobs show latest
    """
    from mammoctl import console
    from mammoctl.jobs import known

    with _connected(inventory) as nodes:
        record = known.show(nodes, known.resolve(nodes, job))
    if as_json:
        console.result_json({"schema": 1, **record})
        return
    console.table(f"job {record['spec']['id']}", ("", ""), _rows(record["spec"], record["state"]))


def _rows(spec: dict[str, Any], state: dict[str, Any]) -> list[tuple[str, str]]:
    import shlex

    rows = [("state", str(state["state"]))]
    rows += [("reason", str(state["reason"]))] if state.get("reason") else []
    rows += [("exit code", str(state["exit_code"]))] if "exit_code" in state else []
    if spec.get("kind") == "script":
        rows += [("program", shlex.join([spec["script"], *spec.get("arguments", [])]))]
    elif spec.get("kind") == "predict":
        rows += [("data", _what(spec)), ("model", spec["model"]["uri"])]
    else:
        rows += [(key, str(spec.get(key))) for key in ("data", "backbone", "epochs", "seed")]
        rows += [("weights", (spec.get("weights") or {}).get("name", "none"))]
    rows += [("setting", f"{key}={value}") for key, value in (spec.get("conf") or {}).items()]
    rows += [("submitted", f"{_when(spec.get('submitted_at'))} by {spec.get('submitted_by')}")]
    rows += [("took", _duration(state))]
    for number, past in enumerate(state.get("attempts") or [], 1):
        rows.append((f"attempt {number}", f"{past['state']}: {past.get('reason', '')}"))
    for told in state.get("notified") or []:
        rows.append(("told", f"{told['target']}{'' if told['ok'] else ': ' + told['error']}"))
    return rows


@app.command()
def attach(
    job: Job,
    results: ResultsDir = Path("results"),
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Watch a job to its end and fetch its results; the exit code is the job's own.

    Examples:
        mammoctl jobs attach latest
    """
    from mammoctl.jobs import known
    from mammoctl.jobs.follow import Position

    with _connected(inventory) as nodes:
        spec = known.show(nodes, known.resolve(nodes, job))["spec"]
        position = Position(log=0 if spec.get("kind") == "script" else None)
        outcome = _watch(nodes, spec, results, inventory, position, as_json=as_json)
    raise typer.Exit(outcome.exit_code)


def _watch(
    nodes: Nodes,
    spec: dict[str, Any],
    results: Path,
    inventory: str | None,
    position: Any,
    *,
    as_json: bool,
) -> Outcome:
    from mammoctl import console
    from mammoctl.jobs import notify
    from mammoctl.jobs.watch import report, watch

    outcome = watch(
        nodes,
        str(spec["id"]),
        results,
        option=again(inventory),
        kind=str(spec.get("kind", "train")),
        position=position,
    )
    notify.ended(nodes.cluster, outcome.state)
    if as_json:
        console.result_json(outcome.document())
    else:
        report(nodes, outcome)
    return outcome


@app.command("await", hidden=True)
def await_(job: Job, inventory: Inventory = None) -> None:
    """Wait for a job's end without a word; what is to be told of it here is told then."""
    from mammoctl.jobs import notify
    from mammoctl.jobs.follow import Position, events

    fortnight = 14 * 86400.0
    with _connected(inventory) as nodes:
        for event in events(nodes, job, position=Position(progress=1 << 62), give_up=fortnight):
            if "end" in event:
                notify.ended(nodes.cluster, event["end"])


@app.command()
def resume(
    job: Job,
    detach: Annotated[
        bool, typer.Option("--detach/--wait", "-d", help="Do not wait for its end.")
    ] = False,
    results: ResultsDir = Path("results"),
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Go on with a job that was lost, killed or failed, under its own id.

    A training goes on from its last checkpoint, with the features that were computed. A program of
    your own starts anew and finds what it has left below $MAMMOCTL_CHECKPOINTS.

    Examples:
        mammoctl jobs resume latest
    """
    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl.jobs import known, launch
    from mammoctl.jobs.follow import Position

    with _connected(inventory) as nodes:
        name = known.resolve(nodes, job)
        resumed, begin, log = launch.resume(nodes, clusters.read(nodes), name)
        console.step(f"job {name}: goes on on {nodes.cluster.name}")
        if detach:
            if as_json:
                console.result_json({"schema": 1, "job": {"id": name}})
            else:
                console.result(name)
            return
        position = Position(begin, log if resumed.kind == "script" else None)
        spec = {"id": name, "kind": resumed.kind}
        outcome = _watch(nodes, spec, results, inventory, position, as_json=as_json)
    raise typer.Exit(outcome.exit_code)


@app.command()
def logs(
    job: Job,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many.")] = 200,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what is added until the job ends.")
    ] = False,
    inventory: Inventory = None,
) -> None:
    """Print the last lines of a job's log; with -f go on, also over broken connections.

    Examples:
        mammoctl jobs logs latest -n 50

        mammoctl jobs logs ab12 -f
    """
    from mammoctl import console
    from mammoctl.jobs import known
    from mammoctl.jobs.follow import Position, events

    with _connected(inventory) as nodes:
        name = str(known.show(nodes, known.resolve(nodes, job))["spec"]["id"])
        if not follow:
            for line in known.log_tail(nodes, name, lines):
                console.result(line)
            return
        position = Position(progress=1 << 62, log=-lines)
        for event in events(nodes, name, position=position, on_trouble=console.warn):
            if "end" in event:
                state = event["end"]
            elif event.get("event") == "log":
                console.result_raw(str(event["text"]))
    reason = f" ({state['reason']})" if state.get("reason") else ""
    console.note(f"job {name} is {state['state']}{reason}")


@app.command()
def kill(
    jobs: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB...",
            help="Ids, last four digits of ids, or `latest`.",
            autocompletion=completion.jobs,
        ),
    ],
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """End jobs that are at work or wait; those that have ended stay what they are.

    Examples:
        mammoctl jobs kill latest

        mammoctl jobs kill ab12 cd34
    """
    from mammoctl import console
    from mammoctl.jobs import known
    from mammoctl.jobs.remote.records import ENDED

    states = []
    with _connected(inventory) as nodes:
        for name in [known.resolve(nodes, job) for job in jobs]:
            before, state = known.kill(nodes, name)
            reason = f" ({state['reason']})" if state.get("reason") else ""
            over = "had ended already: it " if before in ENDED else ""
            console.note(f"job {name} {over}is {state['state']}{reason}")
            states.append(state)
    if as_json:
        console.result_json({"schema": 1, "jobs": states})


@app.command()
def results(
    job: Job = "latest",
    into: ResultsDir = Path("results"),
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Fetch the results of a job (again); of the newest one unless another is named.

    Examples:
        mammoctl results

        mammoctl results ab12 --results ~/results
    """
    from mammoctl import console
    from mammoctl.errors import UsageError
    from mammoctl.jobs import known
    from mammoctl.jobs.remote.records import ALIVE
    from mammoctl.jobs.results import fetch

    with _connected(inventory) as nodes:
        record = known.show(nodes, known.resolve(nodes, job))
        spec, state = record["spec"], record["state"]["state"]
        if state in ALIVE:
            raise UsageError(
                f"the job {spec['id']} is still {state}",
                hint=f"watch it to its end: `mammoctl jobs attach {spec['id']}`",
            )
        fetched = fetch(nodes, str(spec["id"]), into, str(spec.get("kind", "train")))
    if as_json:
        console.result_json({"schema": 1, "job": record["state"], **fetched.document()})
        return
    console.result(str(fetched.folder))


@app.command()
def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Since they ended: 12h, 30d, 8w.")
    ] = "30d",
    keep: Annotated[
        int, typer.Option("--keep", min=0, help="The newest so many stay in any case.")
    ] = 5,
    yes: Yes = False,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Remove ended jobs from the cluster: records, logs, results and checkpoints.

    Results that were fetched stay where they are. Jobs at work are never removed.

    Examples:
        mammoctl jobs prune --older-than 2w

        mammoctl jobs prune --older-than 0d --keep 0 --yes
    """
    from rich.filesize import decimal

    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl.jobs import prune as pruning

    age = pruning.seconds(older_than)
    with _connected(inventory) as nodes:
        found = pruning.candidates(nodes, age, keep)
        if found:
            rows = [(one.job, one.state, _when(one.ended_at), decimal(one.size)) for one in found]
            if not as_json:
                console.table("", ("job", "state", "ended", "on the master"), rows)
            console.confirm(
                f"remove {len(found)} jobs with their results?", yes=yes, as_json=as_json
            )
            pruning.remove(nodes, clusters.read(nodes), [one.job for one in found])
    if as_json:
        console.result_json({"schema": 1, "removed": [one.job for one in found]})
    else:
        console.note(f"{len(found)} jobs removed" if found else "no job is that old")


def register(root: typer.Typer) -> None:
    """Add the group of commands."""
    root.add_typer(app, name="jobs")
    root.command("results")(results)
