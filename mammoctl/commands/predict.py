"""``mammoctl predict``: judge images on the cluster with a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl import completion
from mammoctl.commands import job_options
from mammoctl.commands.job_options import Detach, Name, Notify, ResultsDir
from mammoctl.commands.options import Inventory, Json
from mammoctl.commands.submit import carry_out

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.commands.submit import Prepared
    from mammoctl.ssh import Nodes


def predict(
    *,
    data: Annotated[str | None, job_options.data()] = None,
    folder: Annotated[
        str | None,
        typer.Option(
            "--folder",
            metavar="URI",
            help="Instead of a data set: files on the cluster's storage, such as a DICOM tree.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="latest|JOB|PATH",
            help="Of the newest training, of a training, or a model.keras here.",
            autocompletion=completion.jobs,
        ),
    ] = "latest",
    file_names: Annotated[
        bool,
        typer.Option("--file-names", help="Write names of files too. They may name people."),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on with whatever arrives in --folder, each file once."),
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Of --watch: what is new there now, then end.")
    ] = False,
    name: Name = "predict",
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Images at once through the model.")
    ] = 8,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="How many to take [all; 1 with --watch].")
    ] = 0,
    results: ResultsDir = Path("results"),
    inventory: Inventory = None,
    detach: Detach = False,
    notify: Notify = None,
    as_json: Json = False,
) -> None:
    """Judge the images of a data set, or files on the cluster, and fetch the predictions.

    Research only: no prediction may guide the care of a person. The job goes on when this
    command is interrupted (see `mammoctl jobs`). Exit codes are those of `mammoctl submit`.

    Examples:
        mammoctl data push ~/new --name new --unlabelled

        mammoctl predict --data new

        mammoctl predict --data new --model results/latest --file-names

        mammoctl predict --folder /mammoctl/incoming --watch --detach
    """
    from mammoctl.jobs import predict as predictions
    from mammoctl.jobs.names import add_names

    request = predictions.Request(
        data=data,
        folder=folder,
        model=model,
        name=name,
        batch_size=batch_size,
        workers=workers,
        watch=watch,
        once=once,
        file_names=file_names,
    )
    predictions.check(request)
    judged = ""

    def prepare(nodes: Nodes, deployment: ClusterFile) -> Prepared:
        nonlocal judged
        job = predictions.prepare(nodes, deployment, request)
        judged = job.data
        return job, None

    def add(nodes: Nodes, results: Path) -> None:
        if file_names and judged:
            add_names(nodes, judged, results)

    carry_out(
        inventory,
        prepare,
        into=results,
        detach=detach,
        as_json=as_json,
        notify=notify or (),
        fetched=add,
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)
