"""``mammoctl explore``: describe a data set of the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mammoctl.commands import job_options
from mammoctl.commands.job_options import Detach, Name, Notify, ResultsDir
from mammoctl.commands.options import Inventory, Json
from mammoctl.commands.submit import carry_out


def explore(
    *,
    data: Annotated[str | None, job_options.data()] = None,
    clusters: Annotated[
        int, typer.Option("--clusters", min=2, help="Try 2 to this many clusters.")
    ] = 8,
    backbone: Annotated[str, job_options.backbone()] = "vgg16",
    weights: Annotated[
        str,
        job_options.weights("Its pretrained weights. With none, the clusters mean nothing."),
    ] = "imagenet",
    weights_sha256: Annotated[str | None, job_options.weights_sha256()] = None,
    pooling: Annotated[str | None, job_options.pooling("averages|texture|avg|blocks")] = None,
    seed: Annotated[int, job_options.seed()] = 0,
    name: Name = "explore",
    results: ResultsDir = Path("results"),
    inventory: Inventory = None,
    detach: Detach = False,
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
    jobs.check(request)
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
