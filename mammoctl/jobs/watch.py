"""Watch a job to its end and say what came of it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from mammoctl import console
from mammoctl.errors import Interrupted, JobError, MammoctlError
from mammoctl.jobs.follow import Position, events
from mammoctl.jobs.known import kill, log_tail
from mammoctl.jobs.render import View
from mammoctl.jobs.results import Results, fetch, metric_rows, node_rows, timing_rows

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

UNKNOWN_END = 125
"""Exit code for a job whose end nobody saw."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job; `results` is None when nothing could be fetched.

    Attributes:
        explained: the job itself has said why it failed, and that was shown.
    """

    job: str
    state: dict[str, Any]
    results: Results | None
    explained: bool = False

    @property
    def exit_code(self) -> int:
        """The job's own exit code, 125 for a lost one; 0 only for a job that succeeded."""
        if self.state["state"] == "succeeded":
            return 0
        if self.state["state"] == "lost":
            return UNKNOWN_END
        return int(self.state.get("exit_code") or 0) or 1

    def document(self) -> dict[str, Any]:
        """Return the whole as a document for ``--json``."""
        results = self.results
        return {
            "schema": 1,
            "job": self.state,
            "exit_code": self.exit_code,
            **(results.document() if results else {"results": None, "files": {}}),
            "metrics": results.metrics if results else {},
            "timings": results.timings if results else {},
        }


def watch(
    nodes: Nodes,
    job: str,
    into: Path,
    *,
    option: str = "",
    kind: str = "train",
    position: Position | None = None,
) -> Outcome:
    """Show a job's progress until it ends, then fetch what it left into ``into/<job>/``.

    Ctrl-C asks, where somebody is there to answer, whether to leave the job alone or to end it.

    Args:
        nodes: connections to the job's cluster.
        job: its id.
        into: folder of the folders of results.
        option: how the user named the cluster, such as ``-i ward``; commands in hints have it.
        kind: what the job does; decides which files it must leave.
        position: where to begin, and whether the log is shown; by default the beginning, without.

    Raises:
        Interrupted: Ctrl-C; the job goes on, or has ended and its results stay on the master.
        JobError: the job could not be followed, or its results could not be fetched.
    """
    again = f"{job} {option}".rstrip()
    position, state = position or Position(), None
    while state is None:
        bars = console.progress() if console.is_interactive() else nullcontext()
        try:
            with bars as drawn:
                view = View(drawn)
                state = _follow(nodes, job, position, view)
        except KeyboardInterrupt:
            _interrupted(nodes, job, again)
    explained = view.explained or position.log is not None  # its last words have been shown
    try:
        results = fetch(nodes, job, into, kind)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted while fetching the results of the job {job}, which is {state['state']}",
            hint=f"fetch them again: `mammoctl jobs results {again}`",
        ) from None
    except MammoctlError as exc:
        if state["state"] == "succeeded":
            raise JobError(
                f"the job {job} succeeded, but its results could not be fetched: {exc.message}",
                hint=exc.hint or f"fetch them again: `mammoctl jobs results {again}`",
                details=exc.details,
            ) from exc
        console.warn(f"its log could not be fetched: {exc.message}")
        return Outcome(job, state, None, explained)
    if state["state"] == "succeeded" and results.missing:
        raise JobError(
            f"the job {job} left no {', '.join(results.missing)}",
            hint=f"its log is in {results.folder / 'job.log'}",
        )
    return Outcome(job, state, results, explained)


def _follow(nodes: Nodes, job: str, position: Position, view: View) -> dict[str, Any]:
    for event in events(nodes, job, position=position, on_trouble=console.warn):
        if "end" in event:
            state: dict[str, Any] = event["end"]
            return state
        view.event(event)
    raise JobError(f"lost sight of the job {job}")


def _interrupted(nodes: Nodes, job: str, again: str) -> None:
    """Ask what Ctrl-C meant; returns where the job is to be watched on."""
    choices = {
        "d": "detach: it goes on without you",
        "k": "kill it",
        "c": "continue to watch",
    }
    try:
        chosen = console.choose(f"the job {job} is at work", choices, default="d")
        if chosen == "k":
            kill(nodes, job)
    except KeyboardInterrupt:  # twice is no wish to talk
        chosen = "d"
    if chosen == "d":
        raise Interrupted(
            f"stopped watching; the job {job} goes on in the background on the master",
            hint=f"watch it: `mammoctl jobs attach {again}`; end it: `mammoctl jobs kill {again}`",
        ) from None


def report(nodes: Nodes, outcome: Outcome) -> None:
    """Print what became of a job: tables of a success, the end of the log of a failure."""
    state, results = outcome.state, outcome.results
    if state["state"] != "succeeded":
        # Who asked for the end knows why; a reason is better than the end of a log.
        if state["state"] != "killed" and not outcome.explained:
            for line in log_tail(nodes, outcome.job, 25):
                console.note(f"  | {line}")
        where = f"; log: {results.folder / 'job.log'}" if results else ""
        what = f"the job {outcome.job} is {state['state']}"
        console.note(f"{what}: {state.get('reason') or 'no reason given'}{where}")
        return
    assert results is not None  # noqa: S101  a success without results has raised
    rows: list[tuple[str, str, str]] = [
        *(("metric", *row) for row in metric_rows(results.metrics)),
        *(("stage", *row) for row in timing_rows(results.timings)),
        *(("node", *row) for row in node_rows(results.timings)),
        *(("file", *row) for row in _file_rows(results)),
        ("files", "in", str(results.folder)),
    ]
    console.table(f"job {outcome.job}: succeeded", ("", "what", "value"), rows)
    if not results.metrics.get("meaningful", True):
        console.warn("the backbone had no pretrained weights: the predictions mean nothing")
    if results.kind == "predict":
        console.note("research only: no prediction may guide the care of a person")
    for warning in results.metrics.get("warnings") or []:
        console.note(f"note: {warning}")


def _file_rows(results: Results) -> list[tuple[str, str]]:
    """Return the files of a program of the user's own; those of a training are always the same."""
    if results.kind != "script":
        return []
    return [(name, decimal(size)) for name, (size, _) in sorted(results.files.items())]
