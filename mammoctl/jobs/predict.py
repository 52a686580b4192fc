"""Ask for a prediction: find the model, here or on the cluster, and describe the job."""

from __future__ import annotations

import hashlib
import re
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl import __version__, console
from mammoctl.data.storage import Storage
from mammoctl.errors import UsageError
from mammoctl.jobs.account import account
from mammoctl.jobs.job import is_id, new_id
from mammoctl.jobs.kinds import PredictJob
from mammoctl.jobs.known import list_jobs, submitter
from mammoctl.jobs.spec import Weights
from mammoctl.jobs.submit import bring_file, find_data

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes

MODEL = "model.keras"
_DESCRIPTION = "mammotrain.json"


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for; see `mammoctl predict --help`."""

    data: str | None = None
    folder: str | None = None
    model: str = "latest"
    name: str = "predict"
    batch_size: int = 8
    workers: int = 0
    watch: bool = False
    once: bool = False
    file_names: bool = False


def prepare(nodes: Nodes, deployment: ClusterFile, request: Request) -> PredictJob:
    """Check what is to be judged, bring the model to the cluster, and return the job.

    Raises:
        UsageError: no such data set, no such model, or one that says nothing about itself.
    """
    job = new_id(request.name)
    if request.workers > len(deployment.workers):
        raise UsageError(
            f"the cluster has {len(deployment.workers)} workers, not {request.workers}",
            hint="leave out --workers to use all of them",
        )
    storage = Storage(nodes, deployment)
    check(request)
    data = "" if request.folder else find_data(storage, request.data)
    model = find_model(nodes, storage, request.model)
    options = _options(deployment, request)
    if table := options.get("predictions"):
        console.note(f"predictions: {table}/table")
    return PredictJob(
        id=job,
        data=data,
        model=model,
        images=request.folder or "",
        batch_size=request.batch_size,
        # who waits for files needs no more; the others are for trainings
        workers=request.workers or (1 if request.watch else 0),
        options=options,
        submitted_by=submitter(),
        submitted_at=time.time(),
        mammoctl=__version__,
        user=account(nodes),
    )


def check(request: Request) -> None:
    """Check what can be checked before there is a connection.

    Raises:
        UsageError: options exclude each other, the name, or there is no such model.
    """
    new_id(request.name)
    _local_model(request.model)
    if request.folder and request.data:
        raise UsageError("both --data and --folder are given", hint="leave one of them out")
    if request.watch and not request.folder:
        raise UsageError("--watch needs a folder", hint="name it: --folder URI")
    if request.once and not request.watch:
        raise UsageError("--once belongs to --watch", hint="give both, or leave it out")


def _options(deployment: ClusterFile, request: Request) -> dict[str, str | None]:
    options: dict[str, str | None] = {}
    if request.folder and request.file_names:
        options["file-names"] = None
    if request.watch:
        options["watch"] = None
        options["predictions"] = watched_at(deployment, request.folder or "")
    if request.once:
        options["once"] = None
    return options


def watched_at(deployment: ClusterFile, folder: str) -> str:
    """Return the URI where table and checkpoint of a watched folder lie, the same every time."""
    place = folder.rstrip("/")
    slug = re.sub(r"[^a-z0-9]+", "-", place.rpartition("/")[2].lower()).strip("-") or "folder"
    digest = hashlib.sha256(place.encode()).hexdigest()[:8]
    return f"{deployment.paths.results}/watched/{slug[:40]}-{digest}"


def find_model(nodes: Nodes, storage: Storage, named: str) -> Weights:
    """Return the model on the cluster's storage.

    Args:
        nodes: connections to the cluster.
        storage: the cluster's.
        named: a file here, a folder of results here, the id of a training on the cluster, or
            ``latest``: its newest training that succeeded.

    Raises:
        UsageError: there is no such model.
    """
    if local := _local_model(named):
        return _bring(storage, local)
    job = _newest(nodes) if named == "latest" else named
    uri = f"{storage.paths.results}/{job}/{MODEL}"
    if MODEL not in storage.names(f"{storage.paths.results}/{job}"):
        raise UsageError(
            f"the job {job} has left no model on the cluster",
            hint="`mammoctl jobs list` shows the jobs; a training has a model when it succeeded",
        )
    console.note(f"model of {job}")
    return Weights(uri, storage.sha256(uri), MODEL)


def _local_model(named: str) -> Path | None:
    """Return the file of a model that lies here; None for one on the cluster.

    Raises:
        UsageError: it is neither.
    """
    local = Path(named).expanduser()
    if local.is_dir():
        local = local / MODEL
    if local.is_file():
        return local
    if named != "latest" and not is_id(named):
        raise UsageError(
            f"there is no model {named}",
            hint=f"give a file {MODEL}, a folder with one, a job's id, or `latest`",
        )
    return None


def _newest(nodes: Nodes) -> str:
    done = [
        str(item["spec"]["id"])
        for item in list_jobs(nodes)
        if item["spec"].get("kind", "train") == "train" and item["state"]["state"] == "succeeded"
    ]
    if not done:
        raise UsageError(
            "no training has succeeded on the cluster yet",
            hint="train with `mammoctl submit`, or give a model: --model FILE",
        )
    return done[-1]


def _bring(storage: Storage, path: Path) -> Weights:
    """Check a model here and put it on the storage, under its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo(_DESCRIPTION)
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise UsageError(f"cannot read the model {path}: {exc.strerror or exc}") from exc
    except (zipfile.BadZipFile, KeyError) as exc:
        raise UsageError(
            f"{path} is no model of this application",
            hint=f"give the {MODEL} that a training of this version has left",
        ) from exc
    return bring_file(storage, path, sha256, MODEL, "the model")
