"""What is installed on a cluster, as the cluster's master itself records it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mammoctl.errors import MammoctlError, UsageError

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

RECORD = "/etc/mammoctl/cluster.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Deployment:
    """A provisioned cluster.

    Attributes:
        workers: cores of each worker.
        memory_mb: memory of each worker, MiB.
        storage: ``hdfs``, ``shared`` or ``local``.
        paths: URIs of ``data``, ``features``, ``weights``, ``results`` and ``events``.
        executor_cores: cores of each executor; there is one executor on each worker.
        executor_memory_mb: heap of each executor, MiB.
    """

    cluster: str
    master: str
    address: str
    url: str
    workers: Mapping[str, int]
    memory_mb: Mapping[str, int]
    storage: str
    paths: Mapping[str, str]
    python: str
    spark_home: str
    java_home: str
    executor_cores: int
    executor_memory_mb: int
    versions: Mapping[str, str] = field(default_factory=dict)

    def local_path(self, uri: str) -> str | None:
        """Return the path of a ``file:`` URI, None for one on HDFS."""
        parts = urlsplit(uri)
        return parts.path if parts.scheme in ("", "file") else None


def parse(text: str) -> Deployment:
    """Read the record of a master.

    Raises:
        UsageError: it is damaged, or written by another version.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        if raw["schema"] != SCHEMA:
            raise ValueError(f"schema {raw['schema']}, not {SCHEMA}")
        master, executor = raw["master"], raw["executor"]
        return Deployment(
            cluster=raw["cluster"],
            master=master["host"],
            address=master["address"],
            url=master["url"],
            workers={name: int(one["cores"]) for name, one in raw["workers"].items()},
            memory_mb={name: int(one["memory_mb"]) for name, one in raw["workers"].items()},
            storage=raw["storage"]["kind"],
            paths={name: str(uri).rstrip("/") for name, uri in raw["paths"].items()},
            python=raw["python"],
            spark_home=raw["spark_home"],
            java_home=raw["java_home"],
            executor_cores=int(executor["cores"]),
            executor_memory_mb=int(executor["memory_mb"]),
            versions={
                "spark": str(raw.get("spark_version", "")),
                "python": str(raw.get("python_version", "")),
                "bundle": str(raw.get("bundle", "")),
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise UsageError(
            f"the master's record of the cluster ({RECORD}) cannot be used: {exc}",
            hint="run `mammoctl provision` with this version of mammoctl",
        ) from exc


def read_deployment(nodes: Nodes) -> Deployment:
    """Ask the master what is installed.

    Raises:
        UsageError: the cluster is not provisioned.
        ConnectionFailed: the master cannot be reached.
    """
    name = nodes.cluster.master.name
    result = nodes.run(name, ["cat", RECORD], check=False)
    if result.rc:
        raise UsageError(
            f"the cluster {nodes.cluster.name} is not provisioned: {name} has no {RECORD}",
            hint="run `mammoctl provision` first",
        )
    return parse(result.stdout)


def outside(exc: MammoctlError) -> MammoctlError:
    """Give a failure around a job its exit code: 125, but 2 for wrong use and 130 for Ctrl-C."""
    from mammoctl.errors import JobError

    if exc.exit_code != MammoctlError.exit_code:
        return exc
    return JobError(exc.message, hint=exc.hint, details=exc.details)
