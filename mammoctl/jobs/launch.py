"""Bring a job to the master and start it there; start it once more."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mammoctl import paths
from mammoctl.errors import JobError, UsageError
from mammoctl.jobs.job import JOBS_ROOT, Job
from mammoctl.jobs.kinds import ExploreJob, PredictJob
from mammoctl.jobs.known import agent_argv, log_tail, show
from mammoctl.jobs.package import Shipment, job_archive, read_application, spec_archive
from mammoctl.jobs.remote.tell import shown
from mammoctl.jobs.script import ScriptJob
from mammoctl.jobs.spec import JobSpec, Weights, needs, submit_argv, unit_argv

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes

J = TypeVar("J", bound=Job)

_KINDS: dict[str, type[Job]] = {
    "train": JobSpec,
    "predict": PredictJob,
    "explore": ExploreJob,
    "script": ScriptJob,
}


def start(
    nodes: Nodes,
    deployment: ClusterFile,
    job: J,
    shipment: Shipment | None = None,
    *,
    tell: Sequence[str] = (),
) -> J:
    """Ship what a job runs and start its unit on the master.

    Args:
        nodes: connections to the cluster.
        deployment: what is installed there.
        job: what is asked for.
        shipment: what it runs; None for the training application.
        tell: addresses that the master tells of the job's end.

    Raises:
        JobError: the unit does not start.
    """
    if shipment is None:
        shipment = read_application(paths.project_root() / "app")
    job = replace(job, app_sha256=shipment.sha256, notify=tuple(shown(one) for one in tell))
    state = {
        "schema": 1,
        "id": job.id,
        "kind": job.kind,
        "state": "submitted",
        "boot_id": "",
        "submitted_at": job.submitted_at,
        "attempt": 1,
    }
    targets = {"cluster": nodes.cluster.name, "targets": list(tell)}
    secret = {"notify.json": json.dumps(targets).encode()} if tell else {}
    archive = job_archive(shipment, document(deployment, job), state, secret)
    _unpack(nodes, job, archive, new=True)
    launch(nodes, deployment, job)
    return job


def document(deployment: ClusterFile, job: Job) -> dict[str, Any]:
    """Return a job's specification as it is kept with it and read by its agent."""
    return {**job.record(submit_argv(deployment, job)), "needs": needs(deployment, job)}


def _unpack(nodes: Nodes, job: Job, archive: bytes, *, new: bool = False) -> None:
    """Unpack into a job's folder; of a new job whole or not at all."""
    folder = shlex.quote(job.folder)
    line = (
        f"mkdir -p -m 0755 {JOBS_ROOT} && "
        f"install -d -o {job.user} -g {job.user} -m 0750 {folder} && "
        f"runuser -u {job.user} -- tar -xzf - -C {folder} --no-same-owner"
    )
    if new:
        line = f"{{ {line}; }} || {{ rm -rf -- {folder}; exit 1; }}"
    result = nodes.run(nodes.cluster.master, line, sudo=True, input=archive, check=False)
    if result.rc:
        full = "No space left" in result.stderr
        raise JobError(
            f"the job cannot be brought to {result.host}" + (": its disk is full" if full else ""),
            hint="`mammoctl jobs prune` removes old jobs; `mammoctl status` shows the disks"
            if full
            else "`mammoctl status` shows what is wrong with the master",
            details=result.stderr.strip().splitlines()[-3:],
        )


def launch(nodes: Nodes, deployment: ClusterFile, job: Job) -> None:
    """Start the unit of a job that lies ready on the master.

    Raises:
        JobError: the unit does not start.
    """
    master = nodes.cluster.master.name
    nodes.run(master, agent_argv(job.id, "admit"), sudo=job.user)
    result = nodes.run(master, unit_argv(deployment, job), sudo=True, check=False)
    if result.rc:
        raise JobError(
            f"the job's unit does not start on {master}",
            hint="run `mammoctl verify`; the master's journal says more",
            details=[*result.stderr.strip().splitlines()[-5:], *log_tail(nodes, job.id, 10)],
        )


def resume(nodes: Nodes, deployment: ClusterFile, name: str) -> tuple[Job, int, int]:
    """Start a job that did not succeed once more, in its folder and under its id.

    What it runs is what was shipped with it; addresses and sizes are those of the cluster now.

    Returns:
        The job, and the bytes of its progress file and its log where the new attempt begins.

    Raises:
        UsageError: there is no such job, it has not ended, or it has succeeded.
    """
    record = show(nodes, name)
    job = restored(record["spec"])
    master = nodes.cluster.master.name
    answer = json.loads(nodes.run(master, agent_argv(name, "reopen"), sudo=job.user).stdout)
    if why := answer.get("refused"):
        over = record["state"]["state"] == "succeeded"
        raise UsageError(
            f"the job {name} cannot be resumed: {why}",
            hint=f"its results: `mammoctl jobs results {name}`"
            if over
            else f"watch it: `mammoctl jobs attach {name}`",
        )
    _unpack(nodes, job, spec_archive(document(deployment, job)))
    launch(nodes, deployment, job)
    return job, int(answer["progress"]), int(answer["log"])


def restored(spec: Mapping[str, Any]) -> Job:
    """Return the job that a specification describes.

    Raises:
        UsageError: it was written by another version, for a kind of job that this one lacks.
    """
    kind = _KINDS.get(str(spec.get("kind", "train")))
    if kind is None:
        raise UsageError(
            f"the job {spec['id']} is of a kind that this version of mammoctl does not know",
            hint="use the version that submitted it: " + str(spec.get("mammoctl", "")),
        )
    names = {one.name for one in fields(kind)}
    values = {key: value for key, value in spec.items() if key in names}
    for name in ("weights", "model"):
        if isinstance(values.get(name), dict):
            values[name] = Weights(**values[name])
    return kind(**values)
