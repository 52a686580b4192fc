"""Assemble the command line; each command lives in its own module under ``commands``."""

from __future__ import annotations

import errno
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mammoctl import __version__
from mammoctl.commands import (
    access,
    backup,
    bundle,
    check,
    cp,
    data,
    demo,
    exec,
    explore,
    init,
    jobs,
    lab,
    logs,
    names,
    node,
    notebook,
    plan,
    predict,
    provision,
    secrets,
    services,
    ssh,
    status,
    submit,
    support_bundle,
    teardown,
    ui,
    unlock,
    upgrade,
    verify,
)
from mammoctl.commands.app import App, AskBecomePass

if TYPE_CHECKING:
    from mammoctl.errors import MammoctlError

# What the machine can refuse anywhere, and the mend.
_SYSTEM_REFUSALS = {
    errno.ENOSPC: "make room on that disk, then run the same command again",
    errno.EDQUOT: "make room in that quota, then run the same command again",
    errno.EACCES: "check the owner and mode of that path, or run as another user",
    errno.EPERM: "check the owner and mode of that path, or run as another user",
    errno.EROFS: "that file system is read-only: choose another place",
    errno.ENOTDIR: "a part of that path is a file: choose another place",
    errno.EISDIR: "that is a folder: name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "let this shell open more files (ulimit -n 4096), then run this again",
}

app = App(
    name="mammoctl",
    pretty_exceptions_enable=False,
    help="Bare Debian or Ubuntu hosts to a verified Spark and TensorFlow cluster.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mammoctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: ARG001  its callback does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    ask_become_pass: AskBecomePass = False,
) -> None:
    """Bare Debian or Ubuntu hosts to a verified Spark and TensorFlow cluster."""
    if ask_become_pass:
        from mammoctl import become

        become.ask()


# In the order in which `mammoctl --help` shows them.
PANELS: dict[str, tuple[Any, ...]] = {
    "Cluster": (init, check, plan, provision, verify, node, upgrade, teardown),
    "Operation": (status, services, logs, exec, ssh, cp, ui),
    "Data and jobs": (data, submit, jobs, predict, explore, notebook),
    "Administration": (access, secrets, backup, support_bundle, unlock),
    "Bundles and labs": (bundle, lab, demo),
}
for panel, modules in PANELS.items():
    app.panel = panel
    for module in modules:
        module.register(app)
names.register(app)


def _end(number: int, frame: FrameType | None) -> None:
    from mammoctl import console

    console.stop_asking()
    signal.default_int_handler(number, frame)


def _show(error: MammoctlError) -> None:
    from mammoctl import console

    console.error(error)


def _end_with(error: MammoctlError) -> NoReturn:
    _show(error)
    sys.exit(error.exit_code)


def main() -> None:
    """Run the command line and map known errors to their exit codes, without a traceback."""
    from mammoctl.errors import Interrupted, MammoctlError

    # A polite end from outside cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, _end)
    interrupted = Interrupted("interrupted", hint="run the same command again to go on")
    try:
        app()
    except MammoctlError as exc:
        _end_with(exc)
    except KeyboardInterrupt:
        _end_with(interrupted)
    except SystemExit as exc:
        # Typer turns Ctrl-C into a silent exit; say what it means for the user.
        if isinstance(getattr(exc.__context__, "__cause__", None), KeyboardInterrupt):
            _show(interrupted)
        raise
    except OSError as exc:
        if exc.errno not in _SYSTEM_REFUSALS:
            raise
        place = f": {exc.filename}" if exc.filename else ""
        _end_with(MammoctlError(f"{exc.strerror}{place}", hint=_SYSTEM_REFUSALS[exc.errno]))
