"""What is asked of a job, and the command lines that follow from it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mammoctl.cluster import ClusterFile
from mammoctl.errors import UsageError
from mammoctl.jobs.account import DEFAULT

JOBS_ROOT = "/var/lib/mammoctl/jobs"
SYSTEM_PYTHON = "/usr/bin/python3"

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,40}-\d{8}-\d{6}-[0-9a-f]{4}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


@dataclass(frozen=True, slots=True)
class Weights:
    """Pretrained weights where the cluster finds them."""

    uri: str
    sha256: str
    name: str


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job: everything needed to run it again.

    Attributes:
        id: unique on its cluster; sorts by time within a name.
        data: name of the data set.
        weights: None for a backbone with random weights.
        options: further options of the application, by their names without dashes.
        submitted_by: who submitted it, from which machine.
        submitted_at: seconds since the epoch.
        app_sha256: checksum of the shipped application.
        user: the account that it runs as.
    """

    id: str
    data: str
    backbone: str
    weights: Weights | None
    epochs: int
    seed: int
    batch_size: int
    options: Mapping[str, str] = field(default_factory=dict)
    submitted_by: str = ""
    submitted_at: float = 0.0
    app_sha256: str = ""
    mammoctl: str = ""
    user: str = DEFAULT

    @property
    def folder(self) -> str:
        """The job's folder on the master."""
        return job_folder(self.id)

    @property
    def unit(self) -> str:
        """The job's systemd unit on the master."""
        return f"mammoctl-job-{self.id}.service"

    def record(self, argv: list[str]) -> dict[str, Any]:
        """Return the document that is kept with the job."""
        return {"schema": 1, **asdict(self), "argv": argv}


def new_id(name: str, now: float | None = None) -> str:
    """Make the id of a job, such as ``train-20261121-104512-ab12`` (UTC).

    Raises:
        UsageError: the name has other signs than lower-case letters, digits and hyphens.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a job cannot be called {name!r}",
            hint="use lower-case letters, digits and hyphens, 41 at most",
        )
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}"


def job_folder(job: str) -> str:
    """Return the folder of a job on the master, after checking the id.

    Raises:
        UsageError: this is no job's id.
    """
    if not _ID.fullmatch(job):
        raise UsageError(
            f"{job!r} is not a job's id", hint="`mammoctl jobs list` shows the jobs of the cluster"
        )
    return f"{JOBS_ROOT}/{job}"


def spark_conf(deployment: ClusterFile, spec: JobSpec) -> dict[str, str]:
    """Return Spark's settings of a job.

    One executor on each worker, one task on each executor: TensorFlow takes 1 GB for each
    process and uses all cores by itself. A lost worker costs time and nothing else. GPUs are asked
    for where every worker has some; where only some workers have, a job goes without.
    """
    cores, gpus = deployment.executor.cores, deployment.executor.gpus
    resources = {
        "spark.executor.resource.gpu.amount": str(gpus),
        "spark.task.resource.gpu.amount": str(gpus),
    }
    return {
        "spark.app.name": spec.id,
        "spark.cores.max": str(cores * len(deployment.workers)),
        "spark.driver.bindAddress": deployment.master.address,
        "spark.driver.host": deployment.master.address,
        "spark.dynamicAllocation.enabled": "false",
        "spark.eventLog.compress": "true",
        "spark.eventLog.dir": deployment.paths.events,
        "spark.eventLog.enabled": "true",
        "spark.excludeOnFailure.enabled": "false",
        "spark.executor.cores": str(cores),
        "spark.executor.memory": f"{deployment.executor.memory_mb}m",
        "spark.network.timeout": "60s",
        "spark.stage.maxConsecutiveAttempts": "10",
        "spark.task.cpus": str(cores),
        "spark.task.maxFailures": "10",
        **(resources if gpus else {}),
    }


def app_arguments(deployment: ClusterFile, spec: JobSpec) -> list[str]:
    """Return the arguments of the application."""
    paths = deployment.paths
    arguments = {
        "data": f"{paths.data}/{spec.data}",
        "features": paths.features,
        "output": f"{spec.folder}/results",
        "publish": f"{paths.results}/{spec.id}",
        "progress": f"{spec.folder}/progress.jsonl",
        "backbone": spec.backbone,
        "weights": spec.weights.uri if spec.weights else "none",
        **({"weights-sha256": spec.weights.sha256} if spec.weights else {}),
        "epochs": str(spec.epochs),
        "seed": str(spec.seed),
        "batch-size": str(spec.batch_size),
        **({"ports": deployment.training_ports} if deployment.training_ports else {}),
        **spec.options,
    }
    return [word for name, value in arguments.items() for word in (f"--{name}", value)]


def submit_argv(deployment: ClusterFile, spec: JobSpec) -> list[str]:
    """Return the command line of ``spark-submit``; it holds no secret."""
    conf = spark_conf(deployment, spec)
    return [
        f"{deployment.spark_home}/bin/spark-submit",
        *("--master", deployment.master.url),
        *("--deploy-mode", "client"),
        *(word for key, value in conf.items() for word in ("--conf", f"{key}={value}")),
        *("--py-files", f"{spec.folder}/app/mammotrain.zip"),
        f"{spec.folder}/app/train.py",
        *app_arguments(deployment, spec),
    ]


def environment(deployment: ClusterFile, spec: JobSpec) -> dict[str, str]:
    """Return the environment of the driver."""
    return {
        "HADOOP_CONF_DIR": "/etc/hadoop",
        "HOME": f"{spec.folder}/home",
        "JAVA_HOME": deployment.java_home,
        "LANG": "C.UTF-8",
        "PYSPARK_DRIVER_PYTHON": deployment.python,
        "PYSPARK_PYTHON": deployment.python,
        "PYTHONUNBUFFERED": "1",
        "SPARK_CONF_DIR": "/etc/spark",
        "SPARK_HOME": deployment.spark_home,
    }


def unit_properties(deployment: ClusterFile, spec: JobSpec) -> dict[str, str]:
    """Return the properties of the job's systemd unit."""
    agent = f"{SYSTEM_PYTHON} {spec.folder}/agent.py"
    return {
        "Type": "exec",
        "WorkingDirectory": spec.folder,
        "ExecStartPre": f"{agent} start {spec.folder}",
        "ExecStopPost": f"{agent} finish {spec.folder}",
        "StandardOutput": f"append:{spec.folder}/job.log",
        "StandardError": f"append:{spec.folder}/job.log",
        "KillMode": "mixed",
        "TimeoutStopSec": "20",
        # the driver shares the master with services that must outlive it
        "MemoryMax": "75%",
        "OOMPolicy": "stop",
        "OOMScoreAdjust": "500",
        "UMask": "0027",
        "NoNewPrivileges": "yes",
        "PrivateTmp": "yes",
        "ProtectHome": "yes",
        "ProtectSystem": "strict",
        "ProtectControlGroups": "yes",
        "ProtectKernelModules": "yes",
        "ProtectKernelTunables": "yes",
        "RestrictSUIDSGID": "yes",
        "LockPersonality": "yes",
        "ReadWritePaths": " ".join([spec.folder, "-/var/lib/spark", *_local_storage(deployment)]),
    }


def _local_storage(deployment: ClusterFile) -> list[str]:
    """Return the storage's folder where the driver writes to it as to any other folder."""
    parts = urlsplit(deployment.storage.uri)
    return [] if deployment.storage.kind == "hdfs" else [f"-{parts.path}"]


def unit_argv(deployment: ClusterFile, spec: JobSpec) -> list[str]:
    """Return the command line, run by root on the master, that starts a job."""
    properties = unit_properties(deployment, spec)
    env = environment(deployment, spec)
    return [
        "systemd-run",
        *(
            "--quiet",
            "--collect",
            f"--unit={spec.unit}",
            f"--uid={spec.user}",
            f"--gid={spec.user}",
        ),
        f"--description=mammoctl job {spec.id}",
        *(f"--property={name}={value}" for name, value in properties.items()),
        *(f"--setenv={name}={value}" for name, value in env.items()),
        "--",
        *submit_argv(deployment, spec),
    ]
