"""Options that several commands have: one spelling, one help text."""

from __future__ import annotations

from typing import Annotated

import typer

from mammoctl import completion, pasted

Inventory = Annotated[
    str | None,
    typer.Option(
        "--inventory",
        "-i",
        metavar="NAME|PATH",
        help="Inventory: a name under ./inventory, a folder or a file.",
        autocompletion=completion.inventories,
        callback=pasted.remember,
    ),
]
ExtraVars = Annotated[
    list[str] | None,
    typer.Option("--extra-vars", "-e", metavar="KEY=VALUE|@FILE", help="Override a variable."),
]
Tags = Annotated[
    str | None,
    typer.Option(
        "--tags",
        help="Only these parts, such as spark,hdfs_configure.",
        autocompletion=completion.tags,
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        "-l",
        metavar="NODE",
        help="Change only these; names, patterns, groups, !NODE for all but it. All are looked at.",
        autocompletion=completion.targets,
    ),
]
BundleGiven = Annotated[
    str | None,
    typer.Option(
        "--bundle",
        metavar="KEY|FILE",
        help="A bundle of `mammoctl bundle create`, or where one was written: nothing is "
        "fetched from outside.",
    ),
]
Check = Annotated[bool, typer.Option("--check", help="Change nothing; tell what would change.")]
Diff = Annotated[bool, typer.Option("--diff", help="Show the differences of changed files.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]


def again(inventory: str | None) -> str:
    """Return the option that names the cluster again, for commands in hints."""
    import shlex

    return f"-i {shlex.quote(inventory)}" if inventory else ""
