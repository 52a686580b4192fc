"""Start a job on a cluster and know what became of it."""

from __future__ import annotations

import difflib
import getpass
import json
import platform
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import __version__, console, paths
from mammoctl.data.storage import Storage
from mammoctl.errors import JobError, RemoteError, UsageError
from mammoctl.jobs import agent
from mammoctl.jobs.account import account
from mammoctl.jobs.package import job_archive, read_application
from mammoctl.jobs.spec import (
    JOBS_ROOT,
    SYSTEM_PYTHON,
    JobSpec,
    Weights,
    job_folder,
    new_id,
    submit_argv,
    unit_argv,
)
from mammoctl.ssh.commands import failed

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for; see `mammoctl submit --help`."""

    data: str | None = None
    name: str = "train"
    backbone: str = "vgg16"
    weights: str = "imagenet"
    weights_sha256: str | None = None
    epochs: int = 10
    seed: int = 0
    batch_size: int = 8
    options: Mapping[str, str] = field(default_factory=dict)


def prepare(nodes: Nodes, deployment: ClusterFile, request: Request) -> JobSpec:
    """Check data set and weights, bring the weights to the cluster, and return the job.

    Raises:
        UsageError: no such data set, or the weights cannot be used.
        BundleError: the weights cannot be had.
    """
    job = new_id(request.name)
    storage = Storage(nodes, deployment)
    data = find_data(storage, request.data)
    local = _local_weights(request)
    weights = None
    if local is not None:
        weights = _bring_weights(storage, *local)
    return JobSpec(
        id=job,
        data=data,
        backbone=request.backbone,
        weights=weights,
        epochs=request.epochs,
        seed=request.seed,
        batch_size=request.batch_size,
        options=dict(request.options),
        submitted_by=f"{getpass.getuser()}@{platform.node()}",
        submitted_at=time.time(),
        mammoctl=__version__,
        user=account(nodes),
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


def _bring_weights(storage: Storage, path: Path, sha256: str) -> Weights:
    """Put the weights on the storage unless they are there, under their checksum."""
    folder = f"{storage.paths.weights}/{sha256}"
    names = [name for name in storage.names(folder) if not name.startswith(".")]
    if names:
        return Weights(f"{folder}/{names[0]}", sha256, path.name)
    console.step(f"bringing the weights to the cluster ({path.stat().st_size / 1e6:.0f} MB)")
    temporary = f"{storage.paths.weights}/.tmp-{sha256[:16]}-{time.time_ns():x}"
    suffix = ".weights.h5" if path.name.endswith(".weights.h5") else ".h5"
    name = f"weights{suffix}"
    storage.run(storage.mkdir_line(temporary))
    with storage.writing(f"{temporary}/{name}") as sink, path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sink.write(block)
    if storage.sha256(f"{temporary}/{name}") != sha256:
        storage.run(storage.remove_line(temporary), check=False)
        raise RemoteError("the weights were damaged on their way", hint="submit the job again")
    storage.run(storage.move_line(temporary, folder))
    return Weights(f"{folder}/{name}", sha256, path.name)


def start(nodes: Nodes, deployment: ClusterFile, spec: JobSpec) -> JobSpec:
    """Ship the application and start the job's unit on the master.

    Raises:
        JobError: the unit does not start.
    """
    application = read_application(paths.project_root() / "app")
    spec = replace(spec, app_sha256=application.sha256)
    master = nodes.cluster.master.name
    state = {
        "schema": 1,
        "id": spec.id,
        "state": "submitted",
        "boot_id": "",
        "submitted_at": spec.submitted_at,
    }
    archive = job_archive(
        application,
        Path(agent.__file__).read_bytes(),
        spec.record(submit_argv(deployment, spec)),
        state,
    )
    folder = shlex.quote(spec.folder)
    unpack = (
        f"mkdir -p -m 0755 {JOBS_ROOT} && "
        f"install -d -o {spec.user} -g {spec.user} -m 0750 {folder} && "
        f"runuser -u {spec.user} -- tar -xzf - -C {folder} --no-same-owner && "
        f"runuser -u {spec.user} -- {SYSTEM_PYTHON} {folder}/agent.py admit {folder}"
    )
    nodes.run(master, unpack, sudo=True, input=archive)
    result = nodes.run(master, unit_argv(deployment, spec), sudo=True, check=False)
    if result.rc:
        raise JobError(
            f"the job's unit does not start on {master}",
            hint="run `mammoctl verify`; the master's journal says more",
            details=[*result.stderr.strip().splitlines()[-5:], *log_tail(nodes, spec.id, 10)],
        )
    return spec


def log_tail(nodes: Nodes, job: str, lines: int = 40) -> list[str]:
    """Return the last lines of a job's log."""
    argv = ["tail", "-n", str(lines), f"{job_folder(job)}/job.log"]
    return nodes.run(
        nodes.cluster.master.name, argv, sudo=account(nodes), check=False
    ).stdout.splitlines()


def kill(nodes: Nodes, job: str) -> dict[str, Any]:
    """End a job and return its state; a job that has ended stays what it is.

    Raises:
        UsageError: there is no such job.
        JobError: it does not end.
    """
    before = show(nodes, job)
    if before["state"]["state"] in agent.ENDED:
        return before
    folder, master = job_folder(job), nodes.cluster.master.name
    who = f"{getpass.getuser()}@{platform.node()}"
    mark = [SYSTEM_PYTHON, f"{folder}/agent.py", "mark-kill", folder, who]
    nodes.run(master, mark, sudo=account(nodes))
    stop = ["systemctl", "stop", f"mammoctl-job-{job}.service"]
    said = nodes.run(master, stop, sudo=True, check=False)
    after = show(nodes, job)
    if after["state"]["state"] not in agent.ENDED:
        raise JobError(
            f"the job {job} does not end: it is still {after['state']['state']}",
            hint=f"try again; on {master}: sudo systemctl status mammoctl-job-{job}",
            details=said.stderr.strip().splitlines()[-3:],
        )
    return after


def show(nodes: Nodes, job: str) -> dict[str, Any]:
    """Return a job's specification and state.

    Raises:
        UsageError: there is no such job.
        RemoteError: its record cannot be read.
    """
    folder, master = job_folder(job), nodes.cluster.master.name
    argv = [SYSTEM_PYTHON, f"{folder}/agent.py", "show", folder]
    result = nodes.run(master, argv, sudo=account(nodes), check=False)
    if result.rc and "FileNotFoundError" not in result.stderr and "No such" not in result.stderr:
        raise failed(result)  # the record is there and cannot be read or brought up to date
    if result.rc:
        known = [item["spec"]["id"] for item in list_jobs(nodes)]
        near = difflib.get_close_matches(job, known, n=1)
        raise UsageError(
            f"there is no job {job} on {nodes.cluster.name}",
            hint=f"did you mean {near[0]}?" if near else "`mammoctl jobs list` shows all jobs",
        )
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def list_jobs(nodes: Nodes) -> list[dict[str, Any]]:
    """Return specification and state of every job on the cluster, oldest first."""
    source = Path(agent.__file__).read_bytes()
    argv = [SYSTEM_PYTHON, "-", "list"]
    result = nodes.run(nodes.cluster.master.name, argv, sudo=account(nodes), input=source)
    jobs: list[dict[str, Any]] = json.loads(result.stdout)
    return sorted(jobs, key=lambda item: float(item["state"].get("submitted_at") or 0))
