"""What the application does beside training, as jobs: predictions and looks at a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mammoctl.jobs.job import Job, Program
from mammoctl.jobs.spec import JobSpec, Weights, feature_arguments, result_arguments, training_conf

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile


@dataclass(frozen=True, slots=True)
class PredictJob(Job):
    """Images judged by a trained model.

    Attributes:
        data: name of the data set; empty where `images` says what is judged.
        model: on the cluster's storage.
        images: URI of a folder of files.
        batch_size: images at once through the model.
        workers: how many of the workers it takes; 0 for all.
        options: further options of the application, by their names without dashes; None for one
            that has no value.
    """

    data: str
    model: Weights
    images: str = ""
    batch_size: int = 8
    workers: int = 0
    options: Mapping[str, str | None] = field(default_factory=dict)
    kind: str = field(default="predict", kw_only=True)

    @property
    def endless(self) -> bool:
        """Whether it goes on until somebody ends it."""
        return "watch" in self.options and "once" not in self.options

    def program(self, deployment: ClusterFile) -> Program:
        """Return the application with its options and settings."""
        paths, cores = deployment.paths, deployment.executor.cores
        conf = training_conf(deployment, self.conf.get("spark.executor.cores"))
        if self.workers:
            conf["spark.cores.max"] = str(cores * self.workers)
        if self.endless:  # so would its log of events be
            conf["spark.eventLog.enabled"] = "false"
        what = {"folder": self.images} if self.images else {"data": f"{paths.data}/{self.data}"}
        arguments = {
            "model": self.model.uri,
            "model-sha256": self.model.sha256,
            **what,
            "cache": f"{paths.features}/predictions",
            **result_arguments(deployment, self),
            "batch-size": str(self.batch_size),
            **self.options,
        }
        return _program(self, "predict.py", arguments, conf)


@dataclass(frozen=True, slots=True)
class ExploreJob(JobSpec):
    """A data set described; the fields are those of a training, and `epochs` means nothing."""

    kind: str = field(default="explore", kw_only=True)

    def program(self, deployment: ClusterFile) -> Program:
        """Return the application with its options and settings."""
        arguments = {
            **feature_arguments(deployment, self),
            **result_arguments(deployment, self),
            **self.options,
        }
        conf = training_conf(deployment, self.conf.get("spark.executor.cores"))
        return _program(self, "explore.py", arguments, conf)


def _program(
    job: Job, script: str, arguments: Mapping[str, str | None], conf: Mapping[str, str]
) -> Program:
    words: list[str] = []
    for name, value in arguments.items():
        words += [f"--{name}"] if value is None else [f"--{name}", value]
    archive = f"{job.folder}/app/mammotrain.zip"
    return Program(f"{job.folder}/app/{script}", words, conf, {"py-files": [archive]})
