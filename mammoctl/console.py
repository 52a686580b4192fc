"""The only module that prints.

Results go to standard output; everything said to a human while working (progress, notes, errors)
goes to standard error, so that ``--json`` leaves standard output pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from mammoctl import pasted, runlog

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress

    from mammoctl.errors import MammoctlError

out = Console(highlight=False, soft_wrap=True)
_ending: list[bool] = []
_volume = {"quiet": False, "verbose": False}
_UNLIMITED = 1000  # nothing is folded for a file or a pipe
err = Console(stderr=True, highlight=False, soft_wrap=True)


def set_volume(*, quiet: bool, verbose: bool) -> None:
    """Choose how much is said while working.

    Args:
        quiet: results, warnings, errors and questions alone.
        verbose: what `detail` says, too; line by line instead of bars.

    Raises:
        UsageError: both at once.
    """
    from mammoctl.errors import UsageError

    if quiet and verbose:
        raise UsageError("--quiet and --verbose exclude each other")
    _volume.update(quiet=quiet, verbose=verbose)


def is_verbose() -> bool:
    """Tell whether details are wanted."""
    return _volume["verbose"]


def is_interactive() -> bool:
    """Tell whether bars and live tables are wanted and make sense on standard error."""
    return err.is_terminal and not err.is_dumb_terminal and not any(_volume.values())


def detail(message: str) -> None:
    """Say with ``--verbose`` what is done, for whoever wants to know or to repeat it."""
    runlog.say(message)
    if is_verbose():
        err.print(f"[dim]{escape(message)}[/]")


def note(message: str) -> None:
    """Say something on standard error (plain text; no markup)."""
    message = pasted.complete(message)
    runlog.say(message)
    if not _volume["quiet"]:
        err.print(message, markup=False)


def step(message: str) -> None:
    """Announce a stage of long work on standard error."""
    runlog.say(f"==> {message}")
    if not _volume["quiet"]:
        err.print(f"[bold cyan]==>[/] {escape(message)}")


def warn(message: str) -> None:
    """Warn on standard error; never silenced."""
    message = pasted.complete(message)
    runlog.say(f"warning: {message}")
    err.print(f"[bold yellow]warning:[/] {escape(message)}")


def error(exc: MammoctlError) -> None:
    """Show a known error: the cause, its details and the mend."""
    hint = pasted.complete(exc.hint)
    # A command that could not begin has nothing to look up.
    lines = [f"error: {exc.message}", *(f"  {line}" for line in exc.details), f"hint: {hint}"]
    runlog.say("\n".join(lines), opens=exc.exit_code != 2)
    err.print(f"[bold red]error:[/] {escape(exc.message)}")
    for line in exc.details:
        err.print(f"  {line}", markup=False)
    if hint:
        err.print(f"[bold]hint:[/] {escape(hint)}")
    if log := runlog.path():
        err.print(f"log: {log}", markup=False)


def result(text: str) -> None:
    """Print a result line on standard output (plain text; no markup)."""
    runlog.say(text)
    out.print(text, markup=False)


def result_raw(text: str) -> None:
    """Print text as it is on standard output, its own line ends included, at once."""
    out.file.write(text)
    out.file.flush()


def line_from(origin: str, text: str, *, is_error: bool = False) -> None:
    """Print a line as another program said it, on the same of the two streams, with its origin."""
    from rich.text import Text

    stream = err if is_error else out
    stream.print(Text.assemble((f"{origin}: ", "cyan"), text) if origin else Text(text))


def heading(text: str) -> None:
    """Print what the following result lines are about, on standard output."""
    out.print(f"[bold cyan]--- {escape(text)}[/]")


def result_json(value: Any) -> None:
    """Print ``value`` as JSON on standard output."""
    out.out(json.dumps(value, indent=2, sort_keys=True, default=str), highlight=False)


def confirm(question: str, *, yes: bool, as_json: bool = False) -> None:
    """Ask before something is done that cannot be taken back.

    Args:
        question: what is going to be done; answered with y or n.
        yes: it has been confirmed already, with an option.
        as_json: never ask.

    Raises:
        UsageError: it was refused, or there is nobody to ask.
    """
    import sys

    from mammoctl.errors import UsageError

    if yes:
        return
    if as_json or not can_ask():
        raise UsageError("this needs a confirmation", hint="give --yes")
    err.print(f"{question} [y/N] ", markup=False, end="")
    answer = sys.stdin.readline().strip().lower()
    runlog.say(f"{question} [y/N] {answer}")
    if answer not in {"y", "yes"}:
        raise UsageError("not confirmed; nothing was done")


def can_ask() -> bool:
    """Tell whether somebody is there to answer: standard input is a terminal, and we may stay."""
    import sys

    return sys.stdin.isatty() and not _ending


def stop_asking() -> None:
    """Ask nothing any more: the command is to end, by the wish of another program."""
    _ending.append(True)


def ask(question: str, default: str = "", *, option: str) -> str:
    """Ask for a value; an empty answer is the default.

    Args:
        question: what is wanted.
        default: shown, and taken for an empty answer.
        option: what gives the value without a question.

    Raises:
        UsageError: there is nobody to ask, or no answer came.
    """
    import sys

    from mammoctl.errors import UsageError

    if not can_ask():
        raise UsageError(f"nobody to ask: {question}", hint=f"give it with {option}")
    shown = f" [{default}]" if default else ""
    err.print(f"{question}{shown}: ", markup=False, end="")
    line = sys.stdin.readline()
    if not line:
        raise UsageError("no answer; nothing was done", hint=f"give it with {option}")
    return line.strip() or default


def choose(question: str, choices: Mapping[str, str], *, default: str) -> str:
    """Ask for one of several letters; where nobody can answer, the default is chosen.

    Args:
        question: what is the case.
        choices: what each letter means.
        default: the letter for an empty or an unknown answer.
    """
    import sys

    if not can_ask():
        return default
    err.print(question, markup=False)
    for letter, meaning in choices.items():
        err.print(f"  {letter}  {meaning}", markup=False)
    err.print(f"[{'/'.join(choices)}] ({default}) ", markup=False, end="")
    answer = sys.stdin.readline().strip().lower()[:1]
    return answer if answer in choices else default


def result_json_line(value: Any) -> None:
    """Print ``value`` as one line of JSON on standard output, at once."""
    out.out(json.dumps(value, sort_keys=True, default=str), highlight=False)
    out.file.flush()


def show(view: RenderableType) -> None:
    """Print something drawn on standard output."""
    if out.is_terminal:
        out.print(view, soft_wrap=False)
    else:
        Console(file=out.file, highlight=False, width=_UNLIMITED).print(view)


def width() -> int | None:
    """Return the columns of the terminal that standard output is; None where it is none."""
    return out.width if out.is_terminal else None


@contextmanager
def screen() -> Iterator[Callable[[RenderableType], None]]:
    """Take the terminal's whole screen; yield what replaces its content; give it back after."""
    from rich.live import Live

    with Live(console=out, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda view: live.update(view, refresh=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table of results on standard output; cells are plain text."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(title=escape(title) or None, box=SIMPLE_HEAD, title_justify="left")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(escape(str(cell)) for cell in row))
    out.print(grid, soft_wrap=False)


@contextmanager
def progress(*, transfer: bool = False) -> Iterator[Progress]:
    """Show progress bars on standard error; on anything but a terminal the bars are invisible.

    Args:
        transfer: show bytes, rate and remaining time rather than counts.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts = (DownloadColumn(), TransferSpeedColumn()) if transfer else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not is_interactive()) as bars:
        yield bars
