"""``mammoctl demo``: everything once, on a lab of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER", help="Images to train on [synthetic phantoms]."),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="imagenet|none|PATH",
            help="Pretrained weights; without imagenet where that cannot be downloaded.",
        ),
    ] = "imagenet",
    backbone: Annotated[str, typer.Option("--backbone", help="Frozen network.")] = "vgg16",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the features.")] = 10,
    patient_pattern: Annotated[
        str | None, typer.Option("--patient-pattern", metavar="REGEX", help="As for `data push`.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the lab.")] = "lab",
    subnet: Annotated[str | None, typer.Option("--subnet", help="Network of the lab.")] = None,
    results: Annotated[
        Path, typer.Option("--results", metavar="DIR", help="Where the results are put.")
    ] = Path("results"),
) -> None:
    """Bring up a lab of three machines, provision it, verify it, train on it.

    Needs root. Can be run again at any time: what is there is used. The lab stays up afterwards;
    `mammoctl lab down` removes it.
    """
    from mammoctl.demo import Demo
    from mammoctl.errors import Interrupted
    from mammoctl.jobs.submit import Request

    request = Request(name="demo", weights=weights, backbone=backbone, epochs=epochs)
    course = Demo(name, subnet, data, patient_pattern, request, results)
    try:
        outcome = course.run()
    except KeyboardInterrupt:
        raise Interrupted("interrupted", hint="run the same command again to go on") from None
    raise typer.Exit(outcome.exit_code)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)
