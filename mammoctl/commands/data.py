"""``mammoctl data``: data sets on the cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammoctl import completion
from mammoctl.commands.app import App
from mammoctl.commands.options import Inventory, Json

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

app = App(help="Bring images to the cluster.")


@contextmanager
def _interruptible(left: str = "nothing was changed") -> Iterator[None]:
    from mammoctl.errors import Interrupted

    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {left}", hint="run the same command again") from None


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with the images.")],
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the data set on the cluster.")],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="CSV",
            help="Columns file,label and optionally patient_id [FOLDER/manifest.csv].",
        ),
    ] = None,
    patient_pattern: Annotated[
        str | None,
        typer.Option(
            "--patient-pattern",
            metavar="REGEX",
            help="Finds the patient (first group) in a file's path below FOLDER.",
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows and files that cannot be used.")
    ] = False,
    unlabelled: Annotated[
        bool,
        typer.Option(
            "--unlabelled", help="Images to be judged (`mammoctl predict`), not trained on."
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a data set of this name.")
    ] = False,
    keep_identifiers: Annotated[
        bool,
        typer.Option(
            "--keep-identifiers",
            help="Send the files as they are: names in headers and comments travel too.",
        ),
    ] = False,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    r"""Pack the images of a folder and put them on the cluster's storage.

    Labels come from a manifest, or from folders called benign and malignant. Images are
    de-identified here, before anything leaves this machine. Names of files and patients stay on
    the master in a private map; the data set knows images by ids.

    Examples:
        mammoctl data push ~/mammograms --name screening

        mammoctl data push ~/images --name pilot --patient-pattern '([0-9]+)_[^/]*$'
    """
    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.data.push import check_name
    from mammoctl.data.push import push as push_data
    from mammoctl.data.scan import scan_folder
    from mammoctl.ssh import Nodes

    with _interruptible("the cluster holds nothing half finished"):
        check_name(name)
        cluster = inventories.load(inventory)
        scan = scan_folder(
            folder,
            manifest=manifest,
            patient_pattern=patient_pattern,
            skip_bad=skip_bad,
            unlabelled=unlabelled,
        )
        for warning in scan.warnings:
            console.warn(warning)
        if keep_identifiers:
            console.warn("the files are sent as they are: their headers may name people")
        with Nodes(cluster) as nodes:
            deployment = clusters.read(nodes)
            with console.progress(transfer=True) as bars:
                task = bars.add_task(f"pushing {name}", total=scan.size)
                pushed = push_data(
                    nodes,
                    deployment,
                    scan,
                    name,
                    overwrite=replace,
                    keep_identifiers=keep_identifiers,
                    advance=lambda count: bars.advance(task, count),
                )
    for finding, count in (pushed.description.get("warnings") or {}).items():
        console.warn(f"{count} images: {finding}")
    for reason, count in (pushed.description.get("rejects") or {}).items():
        console.warn(f"{count} images cannot be used and travel without content: {reason}")
    if as_json:
        document = {"schema": 1, "changed": pushed.changed, "uri": pushed.uri}
        document["kept_bytes"] = pushed.kept
        console.result_json({**document, "data": pushed.description})
        return
    console.result(_sentence(pushed.description, pushed.changed, pushed.seconds))
    if pushed.kept:
        console.note(f"{_size(pushed.kept)} of it were there already and did not travel")


def _sentence(about: dict[str, Any], changed: bool, seconds: float) -> str:
    counts = about.get("labels") or {}
    labels = ", ".join(f"{count} {label}" for label, count in counts.items())
    if not any(counts.values()):
        labels = "no labels"
    text = (
        f"{about.get('name')}: {about.get('images')} images of {about.get('patients')} patients "
        f"({labels}), {_size(about.get('bytes'))}"
    )
    if not changed:
        return f"{text}: up to date"
    copies = about.get("duplicates")
    more = f"; {copies} copies of other images left out" if copies else ""
    return f"{text}, on the cluster after {seconds:.1f} s{more}"


def _size(count: Any) -> str:
    return f"{float(count or 0) / 1e6:.1f} MB"


@app.command("list")
def list_(inventory: Inventory = None, as_json: Json = False) -> None:
    """List the data sets of the cluster."""
    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.data.push import list_data
    from mammoctl.ssh import Nodes

    with _interruptible(), Nodes(inventories.load(inventory)) as nodes:
        found = list_data(nodes, clusters.read(nodes))
    if as_json:
        console.result_json({"schema": 1, "data": found})
        return
    if not found:
        console.note("there is no data set yet: mammoctl data push FOLDER --name NAME")
        return
    rows = [
        (
            one.get("name"),
            one.get("images"),
            one.get("patients") if one.get("patient_source") != "none" else "unknown",
            (one.get("labels") or {}).get("benign"),
            (one.get("labels") or {}).get("malignant"),
            _size(one.get("bytes")),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one.get("created_at") or 0)),
        )
        for one in found
    ]
    columns = ("name", "images", "patients", "benign", "malignant", "size", "pushed")
    console.table("", columns, rows)


Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of a data set.", autocompletion=completion.data),
]


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Data sets. Default: all.",
            show_default=False,
            autocompletion=completion.data,
        ),
    ] = None,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Read data sets back on the cluster and compare every file with what was sent.

    The exit code is 0 when all are as they were sent, 1 when one is not, 2 when that could not be
    found out.

    Examples:
        mammoctl data verify

        mammoctl data verify screening --json
    """
    from functools import partial

    from rich.filesize import decimal

    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.data import stored
    from mammoctl.data.storage import Storage
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes

    with _interruptible(), Nodes(inventories.load(inventory)) as nodes:
        deployment = clusters.read(nodes)
        storage = Storage(nodes, deployment)
        chosen = [stored.require(storage, name) for name in names or stored.names(storage)]
        if not chosen:
            raise UsageError("there is no data set on the cluster", hint="`mammoctl data push`")
        verdicts = []
        with console.progress(transfer=True) as bars:
            for name in chosen:
                task = bars.add_task(f"reading {name}", total=None)
                sized = partial(_sized, bars, task)
                read = partial(bars.advance, task)
                verdicts.append(stored.verify(nodes, deployment, name, begin=sized, advance=read))
    bad = [verdict for verdict in verdicts if verdict.findings]
    if as_json:
        documents = [
            {"name": v.name, "ok": not v.findings, "parts": v.parts, "bytes": v.size}
            | {"findings": v.findings}
            for v in verdicts
        ]
        console.result_json({"schema": 1, "ok": not bad, "data": documents})
    else:
        for verdict in verdicts:
            text = f"{verdict.parts} files, {decimal(verdict.size)}"
            console.result(f"{verdict.name}: {'DAMAGED' if verdict.findings else 'good'}, {text}")
            for finding in verdict.findings:
                console.result(f"  {finding}")
        if bad:
            console.note("mend: `mammoctl data remove NAME`, then push it again")
    raise typer.Exit(1 if bad else 0)


def _sized(bars: Progress, task: TaskID, size: int) -> None:
    bars.update(task, total=size)


@app.command()
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Remove a data set from the cluster, and the map from its ids to files.

    Results of trainings stay, and so do computed features, which only images with the same content
    can use. Nothing is removed while a job uses the data set.

    Examples:
        mammoctl data remove pilot
    """
    from rich.filesize import decimal

    from mammoctl import cluster as clusters
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.data import stored
    from mammoctl.data.storage import Storage
    from mammoctl.ssh import Nodes

    with _interruptible(), Nodes(inventories.load(inventory)) as nodes:
        deployment = clusters.read(nodes)
        storage = Storage(nodes, deployment)
        stored.require_any(storage, name)
        about = stored.description(storage, name)
        what = f"{about.get('images', '?')} images, {decimal(stored.size(about))}"
        console.confirm(
            f"remove the data set {name} ({what}) from {nodes.cluster.name}?",
            yes=yes,
            as_json=as_json,
        )
        stored.remove(nodes, deployment, name)
    if as_json:
        console.result_json({"schema": 1, "removed": name, "data": about})
    else:
        console.note(f"{name} is removed")


@app.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    images: Annotated[int, typer.Option("--images", help="Number of images.")] = 60,
    patients: Annotated[int, typer.Option("--patients", help="Number of patients.")] = 20,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same set.")] = 0,
) -> None:
    """Make a small set of phantoms (DICOM and PNG), to try everything with."""
    from mammoctl import console
    from mammoctl.data.synthetic import synthesize as make

    with _interruptible(f"{folder} is not complete"):
        count = make(folder, images=images, patients=patients, seed=seed)
    console.result(f"{folder}: {count} phantoms of {patients} patients, with manifest.csv")


def register(root: typer.Typer) -> None:
    """Add the group of commands."""
    root.add_typer(app, name="data")
