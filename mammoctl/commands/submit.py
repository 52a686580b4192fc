"""``mammoctl submit``: train on the cluster and bring the results back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Inventory = Annotated[
    str | None,
    typer.Option("-i", "--inventory", help="Inventory: a path, or a name under ./inventory."),
]
ResultsDir = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Where the folder of the job is put.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def submit(
    *,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Data set [the only one].")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="First part of the job's id.")] = "train",
    backbone: Annotated[
        str, typer.Option("--backbone", help="Frozen network that makes the features.")
    ] = "vgg16",
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            metavar="imagenet|none|PATH",
            help="Its pretrained weights, without the top. With none, predictions mean nothing.",
        ),
    ] = "imagenet",
    weights_sha256: Annotated[
        str | None, typer.Option("--weights-sha256", metavar="HEX", help="Refuse any others.")
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option("--pooling", metavar="texture|avg|blocks", help="Pooling of features."),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the features.")] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Images at once through the backbone.")
    ] = 8,
    results: ResultsDir = Path("results"),
    inventory: Inventory = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the job's id and do not wait for its end.")
    ] = False,
    as_json: Json = False,
    application: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- OPTION VALUE...]",
            help="Further options of the application.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train on a data set of the cluster and fetch the results.

    The training runs on the master and its workers; it goes on when this command is interrupted
    or the connection breaks (see `mammoctl jobs`). The exit code is the job's own, 125 when
    something around it failed, 130 after Ctrl-C.

    Examples:
        mammoctl submit --data screening

        mammoctl submit --data screening --weights ~/vgg16_notop.weights.h5 --epochs 20

        mammoctl submit --data screening -- --strategy sync --folds 5
    """
    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.errors import Interrupted, MammoctlError
    from mammoctl.jobs import options
    from mammoctl.jobs import submit as jobs
    from mammoctl.jobs.failures import outside
    from mammoctl.jobs.watch import report, watch
    from mammoctl.ssh import Nodes

    request = jobs.Request(
        data=data,
        name=name,
        backbone=backbone,
        weights=weights,
        weights_sha256=weights_sha256,
        epochs=epochs,
        seed=seed,
        batch_size=batch_size,
        options={**({"pooling": pooling} if pooling else {}), **options.parse(application or [])},
    )
    spec = None
    try:
        with Nodes(inventories.load(inventory)) as nodes:
            deployment = clusters.read(nodes)
            spec = jobs.prepare(nodes, deployment, request)
            jobs.start(nodes, deployment, spec)
            console.step(f"job {spec.id}: starting on {len(deployment.workers)} workers")
            if detach:
                if as_json:
                    console.result_json({"schema": 1, "job": {"id": spec.id}})
                else:
                    console.result(spec.id)
                return
            outcome = watch(nodes, spec.id, results, option=option(inventory))
            if as_json:
                console.result_json(outcome.document())
            else:
                report(nodes, outcome)
    except KeyboardInterrupt:
        # From then on it may run: the same command again would start a second one.
        if spec is not None:
            raise Interrupted(
                f"interrupted while the job {spec.id} was being started",
                hint=f"see whether it runs: mammoctl jobs list {option(inventory)}".rstrip(),
            ) from None
        raise Interrupted(
            "interrupted before the job was started", hint="run the same command again"
        ) from None
    except MammoctlError as exc:
        raise outside(exc) from exc
    raise typer.Exit(outcome.exit_code)


def option(inventory: str | None) -> str:
    """Return the option that names the cluster again, for commands in hints."""
    import shlex

    return f"-i {shlex.quote(inventory)}" if inventory else ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit")(submit)
