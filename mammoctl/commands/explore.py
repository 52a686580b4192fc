"""``mammoctl explore``: describe a data set of the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mammoctl import completion
from mammoctl.commands.options import Inventory, Json
from mammoctl.commands.submit import Notify, ResultsDir, carry_out


def explore(
    *,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="Data set. Default: the only one.",
            autocompletion=completion.data,
        ),
    ] = None,
    clusters: Annotated[
        int, typer.Option("--clusters", min=2, help="Try 2 to this many clusters.")
    ] = 8,
    backbone: Annotated[
        str, typer.Option("--backbone", help="Frozen network that makes the features.")
    ] = "vgg16",
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="imagenet|none|PATH",
            help="Its pretrained weights. With none, the clusters mean nothing.",
        ),
    ] = "imagenet",
    weights_sha256: Annotated[
        str | None, typer.Option("--weights-sha256", metavar="HEX", help="Refuse any others.")
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option("--pooling", metavar="texture|avg|blocks", help="Pooling of features."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    name: Annotated[str, typer.Option("--name", help="First part of the job's id.")] = "explore",
    results: ResultsDir = Path("results"),
    inventory: Inventory = None,
    detach: Annotated[
        bool,
        typer.Option("--detach/--wait", "-d", help="Print the job's id, or wait for its end."),
    ] = False,
    notify: Notify = None,
    as_json: Json = False,
) -> None:
    """Describe a data set: tables by SQL, clusters of the features, on one page.

    Nothing is trained; the features stay in the cache for a training. The data set may be one
    without labels. Exit codes are those of `mammoctl submit`.

    Examples:
        mammoctl explore --data screening
    """
    from mammoctl.jobs import submit as jobs

    request = jobs.Request(
        data=data,
        explore=True,
        name=name,
        backbone=backbone,
        weights=weights,
        weights_sha256=weights_sha256,
        seed=seed,
        options={"clusters": str(clusters), **({"pooling": pooling} if pooling else {})},
    )
    carry_out(
        inventory,
        lambda nodes, deployment: (jobs.prepare(nodes, deployment, request), None),
        into=results,
        detach=detach,
        as_json=as_json,
        notify=notify or (),
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explore")(explore)
