"""Assemble the command line; each command lives in its own module under ``commands``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mammoctl import __version__
from mammoctl.commands import bundle, data, demo, jobs, lab, provision, submit

app = typer.Typer(
    name="mammoctl",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Bare Debian or Ubuntu hosts to a verified Spark and TensorFlow cluster.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mammoctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Bare Debian or Ubuntu hosts to a verified Spark and TensorFlow cluster."""


lab.register(app)
bundle.register(app)
provision.register(app)
data.register(app)
submit.register(app)
jobs.register(app)
demo.register(app)


def main() -> None:
    """Run the command line and map known errors to their exit codes, without a traceback."""
    from mammoctl import console
    from mammoctl.errors import Interrupted, MammoctlError

    try:
        app()
    except MammoctlError as exc:
        console.error(exc)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        console.error(Interrupted("interrupted", hint="run the same command again to go on"))
        sys.exit(Interrupted.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
