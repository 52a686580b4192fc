"""Options that the commands that submit jobs share: one spelling, one help text.

Options of the training take the name of the panel of ``--help`` that they stand in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mammoctl import completion

ResultsDir = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where the folder of the job is put.")
]
Notify = Annotated[
    list[str] | None,
    typer.Option(
        "--notify",
        metavar="COMMAND|URL|MAIL",
        help="Told when the job ends: a command here; an address, by the master. May be repeated.",
        show_default=False,
    ),
]
Detach = Annotated[
    bool,
    typer.Option("--detach/--wait", "-d", help="Print the job's id, or wait for its end."),
]
Name = Annotated[str, typer.Option("--name", help="First part of the job's id.")]


def data(panel: str | None = None) -> Any:
    """Return the option that names a data set."""
    return typer.Option(
        "--data",
        metavar="NAME",
        help="Data set. Default: the only one.",
        rich_help_panel=panel,
        autocompletion=completion.data,
    )


def backbone(panel: str | None = None) -> Any:
    """Return the option that names the network."""
    return typer.Option(
        "--backbone", help="Frozen network that makes the features.", rich_help_panel=panel
    )


def weights(text: str, panel: str | None = None) -> Any:
    """Return the option that says where its weights are.

    Args:
        text: its help.
        panel: of the help.
    """
    return typer.Option("--weights", metavar="imagenet|none|PATH", help=text, rich_help_panel=panel)


def weights_sha256(panel: str | None = None) -> Any:
    """Return the option that pins the weights."""
    return typer.Option(
        "--weights-sha256", metavar="HEX", help="Refuse any others.", rich_help_panel=panel
    )


def pooling(choices: str, panel: str | None = None) -> Any:
    """Return the option that says how a map of features becomes numbers."""
    return typer.Option(
        "--pooling", metavar=choices, help="Pooling of features.", rich_help_panel=panel
    )


def seed(panel: str | None = None) -> Any:
    """Return the option that makes runs alike."""
    return typer.Option("--seed", help="Of everything random.", rich_help_panel=panel)
