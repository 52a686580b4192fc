"""Any PySpark program as a job, with the options of ``spark-submit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mammoctl.jobs.cargo import is_uri
from mammoctl.jobs.job import Job, Program

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile


@dataclass(frozen=True, slots=True)
class ScriptJob(Job):
    """A program of the user's own.

    Attributes:
        script: as the user named it, without folders.
        main: its file in the job's folder ``app``.
        arguments: what followed ``--``.
        lists: ``py-files`` and so on: names in ``app`` (``NAME`` or ``NAME#ALIAS``) or URIs.
        main_class: where `main` is a jar.
    """

    script: str
    main: str
    arguments: tuple[str, ...] = ()
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    main_class: str = ""
    kind: str = field(default="script", kw_only=True)

    def program(self, deployment: ClusterFile) -> Program:
        """Return the program with what its environment tells it."""
        lists = {
            name: [word if is_uri(word) else f"{self.folder}/app/{word}" for word in words]
            for name, words in self.lists.items()
            if words
        }
        return Program(
            f"{self.folder}/app/{self.main}",
            self.arguments,
            lists=lists,
            main_class=self.main_class,
            environment={
                "MAMMOCTL_JOB": self.id,
                "MAMMOCTL_RESULTS": f"{self.folder}/results",
                "MAMMOCTL_PROGRESS": f"{self.folder}/progress.jsonl",
                "MAMMOCTL_DATA": deployment.paths.data,
                "MAMMOCTL_STORAGE": f"{deployment.paths.results}/{self.id}",
                "MAMMOCTL_CHECKPOINTS": checkpoints(deployment, self.id),
            },
        )


def checkpoints(deployment: ClusterFile, job: str) -> str:
    """Return the URI below which a job may keep what lets it be resumed."""
    return f"{deployment.storage.uri.rstrip('/')}/checkpoints/{job}"
