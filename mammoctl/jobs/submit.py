"""What the user asks for, made into a job: data set, weights, or a program and its settings."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl import __version__, console
from mammoctl.data.storage import Storage
from mammoctl.errors import MammoctlError, RemoteError, UsageError
from mammoctl.jobs import cargo
from mammoctl.jobs.account import account, scratch
from mammoctl.jobs.job import new_id
from mammoctl.jobs.kinds import ExploreJob
from mammoctl.jobs.known import submitter
from mammoctl.jobs.script import ScriptJob
from mammoctl.jobs.settings import Options, asked, settings
from mammoctl.jobs.spec import JobSpec, Weights

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.jobs.package import Shipment
    from mammoctl.ssh import Nodes


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for; see `mammoctl submit --help` and `mammoctl explore --help`."""

    data: str | None = None
    explore: bool = False
    name: str = "train"
    backbone: str = "vgg16"
    weights: str = "imagenet"
    weights_sha256: str | None = None
    epochs: int = 10
    seed: int = 0
    batch_size: int = 8
    options: Mapping[str, str] = field(default_factory=dict)
    spark: Options = field(default_factory=Options)


def check(request: Request) -> None:
    """Check what can be checked before there is a connection.

    Raises:
        UsageError: the name, a setting, or a file that is not there.
    """
    new_id(request.name)
    asked(request.spark)
    if request.weights not in ("imagenet", "none"):
        cargo.found(Path(request.weights).expanduser(), "--weights")


def prepare(nodes: Nodes, deployment: ClusterFile, request: Request) -> JobSpec:
    """Check data set and weights, bring the weights to the cluster, and return the job.

    Raises:
        UsageError: no such data set, or the weights cannot be used.
        BundleError: the weights cannot be had.
    """
    job = new_id(request.name)
    conf = settings(request.spark, deployment)
    storage = Storage(nodes, deployment)
    data = find_data(storage, request.data)
    local = _local_weights(request)
    weights = None
    if local is not None:
        suffix = ".weights.h5" if local[0].name.endswith(".weights.h5") else ".h5"
        weights = bring_file(storage, *local, f"weights{suffix}", "the weights")
    make = ExploreJob if request.explore else JobSpec
    return make(
        id=job,
        data=data,
        backbone=request.backbone,
        weights=weights,
        epochs=request.epochs,
        seed=request.seed,
        batch_size=request.batch_size,
        options=dict(request.options),
        conf=conf,
        submitted_by=submitter(),
        submitted_at=time.time(),
        mammoctl=__version__,
        user=account(nodes),
        scratch=scratch(nodes),
    )


def find_data(storage: Storage, name: str | None) -> str:
    """Return the name of the data set to use: the one named, or the only one.

    Raises:
        UsageError: there is none of that name, none at all, or several to choose from.
    """
    names = sorted(
        entry for entry in storage.names(storage.paths.data) if not entry.startswith(".")
    )
    if not names:
        raise UsageError(
            "there is no data set on the cluster",
            hint="bring one there with `mammoctl data push FOLDER --name NAME`",
        )
    if name is None:
        if len(names) == 1:
            return names[0]
        raise UsageError(
            f"there are several data sets: {', '.join(names)}", hint="choose one with --data NAME"
        )
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    raise UsageError(
        f"there is no data set {name!r} on the cluster",
        hint=f"did you mean --data {near[0]}?"
        if near
        else f"there are: {', '.join(names)}; `mammoctl data push` brings new ones",
    )


def _local_weights(request: Request) -> tuple[Path, str] | None:
    if request.weights == "none":
        if request.weights_sha256:
            raise UsageError("--weights-sha256 without weights", hint="leave one of them out")
        return None
    from mammoctl.bundle import ensure_weights

    found = ensure_weights(request.weights, request.backbone, request.weights_sha256)
    if found is None:
        return None
    return Path(found.path), str(found.sha256)


def bring_file(storage: Storage, path: Path, sha256: str, name: str, what: str) -> Weights:
    """Put weights or a model on the storage as `name`, unless its checksum is there already.

    Args:
        storage: the cluster's.
        path: the file here.
        sha256: its checksum.
        name: what it is called there.
        what: what it is called in messages.

    Raises:
        RemoteError: it arrived damaged, or could not be written.
    """
    folder = f"{storage.paths.weights}/{sha256}"
    names = [found for found in storage.names(folder) if not found.startswith(".")]
    if names:
        return Weights(f"{folder}/{names[0]}", sha256, path.name)
    console.step(f"bringing {what} to the cluster ({path.stat().st_size / 1e6:.0f} MB)")
    temporary = f"{storage.paths.weights}/.tmp-{sha256[:16]}-{time.time_ns():x}"
    storage.change(("mkdir", temporary))
    try:
        with path.open("rb") as stream:
            arrived = storage.send_all(f"{temporary}/{name}", stream)
        if arrived != sha256:
            raise RemoteError(
                f"{what} arrived damaged on the cluster", hint="run the same command again"
            )
        storage.change(("move", temporary, folder))
    except BaseException:
        with suppress(MammoctlError):  # what failed before counts
            storage.change(("remove", temporary))
        raise
    return Weights(f"{folder}/{name}", sha256, path.name)


@dataclass(frozen=True, slots=True)
class Packed:
    """A program of the user's own with what travels with it: all that is known without a cluster.

    Attributes:
        id: of the job.
        script: as the user named it.
        main: its file among those shipped.
        lists: ``py-files`` and so on, see `ScriptJob`.
        shipment: the files.
        options: what the user gave of ``spark-submit``'s.
    """

    id: str
    script: Path
    main: str
    lists: Mapping[str, Sequence[str]]
    shipment: Shipment
    options: Options


def pack_script(script: Path, options: Options, *, name: str | None = None) -> Packed:
    """Pack a program of the user's own.

    Raises:
        UsageError: it is not there, cannot be run, or a setting cannot be given.
    """
    main, lists, shipment = cargo.pack(script, options.lists, options.main_class)
    asked(options)
    label = re.sub(r"[^a-z0-9]+", "-", script.expanduser().resolve().stem.lower()).strip("-")
    job = new_id(name or label[:41].strip("-") or "job")
    return Packed(job, script, main, lists, shipment, options)


def prepare_script(
    nodes: Nodes, deployment: ClusterFile, packed: Packed, arguments: Sequence[str]
) -> tuple[ScriptJob, Shipment]:
    """Return the job of a program, after checking what it asks of the cluster.

    Raises:
        UsageError: it asks for more than the cluster has.
    """
    conf = settings(packed.options, deployment)
    job = ScriptJob(
        packed.id,
        packed.script.name,
        packed.main,
        tuple(arguments),
        packed.lists,
        packed.options.main_class or "",
        conf=conf,
        submitted_by=submitter(),
        submitted_at=time.time(),
        mammoctl=__version__,
        user=account(nodes),
        scratch=scratch(nodes),
    )
    return job, packed.shipment
