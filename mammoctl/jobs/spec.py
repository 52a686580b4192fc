"""The training as a job, and the command lines that follow from any job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mammoctl.cluster import ClusterFile
from mammoctl.jobs import driver
from mammoctl.jobs.job import SYSTEM_PYTHON, Job, Program, memory_mb
from mammoctl.jobs.package import AGENT

DRIVER_MB = 1700
"""MiB that a driver with TensorFlow takes on the master, all in all."""

_DRIVER_REST_MB = 512
_DRIVER_HEAP = "768m"


@dataclass(frozen=True, slots=True)
class Weights:
    """Pretrained weights, or a whole model, where the cluster finds them."""

    uri: str
    sha256: str
    name: str


@dataclass(frozen=True, slots=True)
class JobSpec(Job):
    """A training.

    Attributes:
        data: name of the data set.
        weights: None for a backbone with random weights.
        options: further options of the application, by their names without dashes.
    """

    data: str
    backbone: str
    weights: Weights | None
    epochs: int
    seed: int
    batch_size: int
    options: Mapping[str, str] = field(default_factory=dict)

    def program(self, deployment: ClusterFile) -> Program:
        """Return the application with its options and settings."""
        return Program(
            f"{self.folder}/app/train.py",
            app_arguments(deployment, self),
            training_conf(deployment, self.conf.get("spark.executor.cores")),
            {"py-files": [f"{self.folder}/app/mammotrain.zip"]},
        )


def spark_conf(deployment: ClusterFile, job: Job) -> dict[str, str]:
    """Return Spark's settings of a job: one executor on each worker unless it says otherwise."""
    cores = deployment.executor.cores
    return {
        "spark.app.name": job.id,
        "spark.cores.max": str(cores * len(deployment.workers)),
        "spark.driver.bindAddress": deployment.master.address,
        "spark.driver.host": deployment.master.address,
        "spark.eventLog.compress": "true",
        "spark.eventLog.dir": deployment.paths.events,
        "spark.eventLog.enabled": "true",
        "spark.executor.cores": str(cores),
        "spark.executor.memory": f"{deployment.executor.memory_mb}m",
        **job.program(deployment).conf,
        **job.conf,
    }


def training_conf(deployment: ClusterFile, cores: str | None = None) -> dict[str, str]:
    """Return Spark's settings of the application.

    One task on each executor: TensorFlow takes 1 GB for each process and uses all cores by
    itself. A lost worker costs time and nothing else. GPUs are asked for where every worker has
    some; where only some workers have, a job goes without.

    Args:
        deployment: the cluster.
        cores: of an executor, where the user has asked for a number.
    """
    gpus = deployment.executor.gpus
    resources = {
        "spark.executor.resource.gpu.amount": str(gpus),
        "spark.task.resource.gpu.amount": str(gpus),
    }
    return {
        "spark.dynamicAllocation.enabled": "false",
        "spark.excludeOnFailure.enabled": "false",
        "spark.network.timeout": "60s",
        "spark.stage.maxConsecutiveAttempts": "10",
        "spark.task.cpus": cores or str(deployment.executor.cores),
        "spark.task.maxFailures": "10",
        **(resources if gpus else {}),
    }


def needs(deployment: ClusterFile, job: Job) -> dict[str, Any]:
    """Return what a job waits for: executors, the cores and MiB of each, MiB of the driver.

    ``page`` is where the Spark master says what is free.
    """
    conf = spark_conf(deployment, job)
    cores = int(conf["spark.executor.cores"])
    heap = memory_mb(conf.get("spark.driver.memory", _DRIVER_HEAP))
    master = deployment.master
    return {
        "page": f"http://{master.address}:{master.ui_port}/json/",
        "executors": max(1, int(conf["spark.cores.max"]) // cores),
        "cores": cores,
        "memory_mb": memory_mb(conf["spark.executor.memory"]),
        "driver_mb": heap + _DRIVER_REST_MB if job.kind == "script" else DRIVER_MB,
    }


def app_arguments(deployment: ClusterFile, spec: JobSpec) -> list[str]:
    """Return the arguments of the application."""
    arguments = {
        **feature_arguments(deployment, spec),
        **result_arguments(deployment, spec),
        "epochs": str(spec.epochs),
        **({"ports": deployment.training_ports} if deployment.training_ports else {}),
        **spec.options,
    }
    return [word for name, value in arguments.items() for word in (f"--{name}", value)]


def feature_arguments(deployment: ClusterFile, spec: JobSpec) -> dict[str, str]:
    """Return the options that say which features of which images."""
    return {
        "data": f"{deployment.paths.data}/{spec.data}",
        "features": deployment.paths.features,
        "backbone": spec.backbone,
        "weights": spec.weights.uri if spec.weights else "none",
        **({"weights-sha256": spec.weights.sha256} if spec.weights else {}),
        "seed": str(spec.seed),
        "batch-size": str(spec.batch_size),
    }


def result_arguments(deployment: ClusterFile, job: Job) -> dict[str, str]:
    """Return the options that say where results and progress go."""
    return {
        "output": f"{job.folder}/results",
        "publish": f"{deployment.paths.results}/{job.id}",
        "progress": f"{job.folder}/progress.jsonl",
    }


def submit_argv(deployment: ClusterFile, job: Job) -> list[str]:
    """Return the command line of ``spark-submit``; none of ours on it is a secret."""
    conf, program = spark_conf(deployment, job), job.program(deployment)
    return [
        f"{deployment.spark_home}/bin/spark-submit",
        *("--master", deployment.master.url),
        *("--deploy-mode", "client"),
        *(word for key, value in conf.items() for word in ("--conf", f"{key}={value}")),
        *(("--class", program.main_class) if program.main_class else ()),
        *(word for key, all_ in program.lists.items() for word in (f"--{key}", ",".join(all_))),
        program.main,
        *program.arguments,
    ]


def environment(deployment: ClusterFile, spec: Job) -> dict[str, str]:
    """Return the environment of the driver."""
    own = spec.program(deployment).environment
    return {**driver.environment(deployment, f"{spec.folder}/home"), **own}


def unit_properties(deployment: ClusterFile, spec: Job) -> dict[str, str]:
    """Return the properties of the job's systemd unit."""
    agent = f"{SYSTEM_PYTHON} {spec.folder}/{AGENT}"
    return {
        "Type": "exec",
        "WorkingDirectory": spec.folder,
        "ExecStopPost": f"{agent} finish {spec.folder}",
        "StandardOutput": f"append:{spec.folder}/job.log",
        "StandardError": f"append:{spec.folder}/job.log",
        "KillMode": "mixed",
        "TimeoutStopSec": "20",
        "OOMPolicy": "stop",
        **driver.sandbox(deployment, spec.folder, spec.scratch),
    }


def unit_argv(deployment: ClusterFile, spec: Job) -> list[str]:
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
        # waits for its turn, then becomes the command line in the job's record
        *("--", SYSTEM_PYTHON, f"{spec.folder}/{AGENT}", "run", spec.folder),
    ]
