"""``mammoctl submit``: run the training, or any program for Spark, and bring the results back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands import job_options
from mammoctl.commands.job_options import Detach, Notify, ResultsDir
from mammoctl.commands.options import Inventory, Json, again

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.jobs.job import Job
    from mammoctl.jobs.package import Shipment
    from mammoctl.jobs.settings import Options
    from mammoctl.ssh import Nodes

    Prepared = tuple[Job, Shipment | None]

_TRAINING = "The training"
_SPARK = "Spark, as for spark-submit"
_OF_TRAINING = (
    *("data", "backbone", "weights", "weights_sha256", "pooling", "epochs", "seed", "batch_size"),
)


def submit(
    context: typer.Context,
    *,
    program: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROGRAM] [-- ARGUMENT...]",
            help="A .py file, a folder or .zip with a __main__.py, or a .jar; the training without."
            " What follows -- goes to it.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="First part of the job's id. Default: train, or the program's name."
        ),
    ] = None,
    detach: Detach = False,
    notify: Notify = None,
    results: ResultsDir = Path("results"),
    inventory: Inventory = None,
    as_json: Json = False,
    data: Annotated[str | None, job_options.data(_TRAINING)] = None,
    backbone: Annotated[str, job_options.backbone(_TRAINING)] = "vgg16",
    weights: Annotated[
        str,
        job_options.weights(
            "Its pretrained weights, without the top. With none, predictions mean nothing.",
            _TRAINING,
        ),
    ] = "imagenet",
    weights_sha256: Annotated[str | None, job_options.weights_sha256(_TRAINING)] = None,
    pooling: Annotated[
        str | None, job_options.pooling("averages|texture|avg|blocks", _TRAINING)
    ] = None,
    epochs: Annotated[
        int,
        typer.Option(
            "--epochs", min=1, help="Passes over the features.", rich_help_panel=_TRAINING
        ),
    ] = 10,
    seed: Annotated[int, job_options.seed(_TRAINING)] = 0,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            min=1,
            help="Images at once through the backbone.",
            rich_help_panel=_TRAINING,
        ),
    ] = 8,
    py_files: Annotated[
        str | None,
        typer.Option(
            "--py-files",
            metavar="FILE,...",
            help="Modules for the program: .py, .zip, .egg, .whl, folders.",
            rich_help_panel=_SPARK,
        ),
    ] = None,
    files: Annotated[
        str | None,
        typer.Option(
            "--files",
            metavar="FILE,...",
            help="Files for the executors' folders.",
            rich_help_panel=_SPARK,
        ),
    ] = None,
    archives: Annotated[
        str | None,
        typer.Option(
            "--archives",
            metavar="FILE,...",
            help="The same, unpacked there.",
            rich_help_panel=_SPARK,
        ),
    ] = None,
    jars: Annotated[
        str | None,
        typer.Option(
            "--jars", metavar="FILE,...", help="For the class path.", rich_help_panel=_SPARK
        ),
    ] = None,
    main_class: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Of a .jar.", rich_help_panel=_SPARK),
    ] = None,
    conf: Annotated[
        list[str] | None,
        typer.Option(
            "--conf",
            "-c",
            metavar="NAME=VALUE",
            help="A setting of Spark. May be repeated.",
            rich_help_panel=_SPARK,
            show_default=False,
        ),
    ] = None,
    properties_file: Annotated[
        Path | None,
        typer.Option(
            "--properties-file",
            metavar="FILE",
            help="Settings, one a line.",
            rich_help_panel=_SPARK,
        ),
    ] = None,
    driver_memory: Annotated[
        str | None,
        typer.Option("--driver-memory", metavar="SIZE", rich_help_panel=_SPARK, help="Heap."),
    ] = None,
    executor_memory: Annotated[
        str | None,
        typer.Option("--executor-memory", metavar="SIZE", rich_help_panel=_SPARK, help="Heap."),
    ] = None,
    executor_cores: Annotated[
        int | None,
        typer.Option("--executor-cores", min=1, rich_help_panel=_SPARK, help="Of each."),
    ] = None,
    total_executor_cores: Annotated[
        int | None,
        typer.Option(
            "--total-executor-cores",
            min=1,
            rich_help_panel=_SPARK,
            help="Of all. Default: the cluster's.",
        ),
    ] = None,
    num_executors: Annotated[
        int | None,
        typer.Option(
            "--num-executors", min=1, rich_help_panel=_SPARK, help="Instead of cores in all."
        ),
    ] = None,
) -> None:
    """Run the training, or a program of your own, on the cluster and fetch its results.

    It runs on the master and its workers; it goes on when the connection breaks or this machine
    goes away (see `mammoctl jobs`). Ctrl-C asks whether to leave it alone or to end it. A job that
    the cluster has no room for waits, and says for what. The exit code is the job's own, 125 when
    something around it failed, 130 after Ctrl-C.

    Examples:
        mammoctl submit --data screening

        mammoctl submit --data screening --weights ~/vgg16_notop.weights.h5 -- --folds 5

        mammoctl submit count.py --executor-memory 2g -- hdfs:///mammoctl/data/screening

        mammoctl submit ./pipeline --py-files helpers.py --detach --notify 'wall "$MAMMOCTL_TEXT"'
    """
    from mammoctl.jobs import options
    from mammoctl.jobs import submit as jobs
    from mammoctl.jobs.settings import Options

    words = program or []
    script = Path(words[0]) if words and not words[0].startswith("-") else None
    spark = Options(
        conf=conf or (),
        properties_file=properties_file,
        lists={"py-files": py_files, "files": files, "archives": archives, "jars": jars},
        main_class=main_class,
        driver_memory=driver_memory,
        executor_memory=executor_memory,
        executor_cores=executor_cores,
        total_executor_cores=total_executor_cores,
        num_executors=num_executors,
    )
    _require_fitting(context, spark, script)

    # What is wrong here is told before the cluster is asked: it may be down.
    if script is not None:
        packed = jobs.pack_script(script, spark, name=name)

        def prepare(nodes: Nodes, deployment: ClusterFile) -> Prepared:
            return jobs.prepare_script(nodes, deployment, packed, words[1:])
    else:
        request = jobs.Request(
            data=data,
            name=name or "train",
            backbone=backbone,
            weights=weights,
            weights_sha256=weights_sha256,
            epochs=epochs,
            seed=seed,
            batch_size=batch_size,
            options={**({"pooling": pooling} if pooling else {}), **options.parse(words)},
            spark=spark,
        )
        jobs.check(request)

        def prepare(nodes: Nodes, deployment: ClusterFile) -> Prepared:
            return jobs.prepare(nodes, deployment, request), None

    carry_out(inventory, prepare, into=results, detach=detach, as_json=as_json, notify=notify or ())


def carry_out(
    inventory: str | None,
    prepare: Callable[[Nodes, ClusterFile], Prepared],
    *,
    into: Path,
    detach: bool,
    as_json: bool,
    notify: Sequence[str] = (),
    fetched: Callable[[Nodes, Path], None] | None = None,
) -> None:
    """Start a job, watch it to its end, fetch and show its results, exit with its code.

    Args:
        inventory: as the user named it.
        prepare: says what job it is, and what is shipped with it.
        into: folder of the folders of results.
        detach: print the job's id and do not wait for its end.
        as_json: print the outcome as JSON.
        notify: whom to tell of its end.
        fetched: is called with the folder of the results of a job that succeeded.

    Raises:
        MammoctlError: something around the job failed.
        Exit: with the job's exit code.
    """
    from contextlib import suppress

    from mammoctl import cluster as clusters
    from mammoctl import console, lock
    from mammoctl import inventory as inventories
    from mammoctl.errors import Interrupted, MammoctlError
    from mammoctl.jobs import launch
    from mammoctl.jobs import notify as notices
    from mammoctl.jobs.failures import outside
    from mammoctl.ssh import Nodes

    targets = notices.targets(notify)
    job: Job | None = None
    try:
        with Nodes(inventories.load(inventory)) as nodes:
            deployment = clusters.read(nodes)
            with suppress(MammoctlError):
                if who := lock.holder(nodes):
                    console.warn(
                        f"{nodes.cluster.name} is being changed by {who}: what that restarts may "
                        "interrupt this job"
                    )
            notices.require_mail(nodes, targets.addresses)
            job, shipment = prepare(nodes, deployment)
            job = launch.start(nodes, deployment, job, shipment, tell=targets.addresses)
            notices.remember(nodes.cluster, job.id, targets.commands)
            console.step(f"job {job.id}: submitted to {nodes.cluster.name}")
            code = _follow(
                nodes, job, into, inventory, detach=detach, as_json=as_json, fetched=fetched
            )
    except KeyboardInterrupt:
        # From then on it may run: the same command again would start a second one.
        if job is not None:
            raise Interrupted(
                f"interrupted while the job {job.id} was being started",
                hint=f"see whether it runs: mammoctl jobs list {again(inventory)}".rstrip(),
            ) from None
        raise Interrupted(
            "interrupted before the job was started", hint="run the same command again"
        ) from None
    except MammoctlError as exc:
        raise outside(exc) from exc
    raise typer.Exit(code)


def _require_fitting(context: typer.Context, spark: Options, script: Path | None) -> None:
    """Refuse options that belong to the other kind of job."""
    from mammoctl.errors import UsageError

    if script is None:
        if given := spark.given():
            raise UsageError(
                f"{', '.join(given)}: for a program of your own, not for the training",
                hint="name the program: `mammoctl submit PROGRAM ...`",
            )
        return
    given = [
        f"--{name.replace('_', '-')}"
        for name in _OF_TRAINING
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)}: for the training, not for a program of your own",
            hint=f"what is for the program goes behind --: `mammoctl submit {script} -- ...`",
        )


def _follow(
    nodes: Nodes,
    job: Job,
    results: Path,
    inventory: str | None,
    *,
    detach: bool,
    as_json: bool,
    fetched: Callable[[Nodes, Path], None] | None,
) -> int:
    """Watch a job that has just been started, or leave it; return the exit code."""
    from mammoctl import console
    from mammoctl.errors import Interrupted
    from mammoctl.jobs import notify as notices
    from mammoctl.jobs.follow import Position
    from mammoctl.jobs.watch import report, watch

    if detach:
        notices.leave_behind(nodes.cluster, job.id)
        if as_json:
            console.result_json({"schema": 1, "job": {"id": job.id}})
        else:
            console.result(job.id)
        return 0
    # a program of the user's own has no events to show, so its log is
    position = Position(log=0 if job.kind == "script" else None)
    try:
        outcome = watch(
            nodes, job.id, results, option=again(inventory), kind=job.kind, position=position
        )
    except Interrupted:
        notices.leave_behind(nodes.cluster, job.id)
        raise
    notices.ended(nodes.cluster, outcome.state)
    if fetched and outcome.results and not outcome.exit_code:
        fetched(nodes, outcome.results.folder)
    if as_json:
        console.result_json(outcome.document())
    else:
        report(nodes, outcome)
    return outcome.exit_code


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("submit")(submit)
