"""What a provisioned cluster says about itself: ``/etc/mammoctl/cluster.json`` on the master."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mammoctl.errors import MammoctlError, RemoteError
from mammoctl.ssh import Nodes

PATH = "/etc/mammoctl/cluster.json"


class NotProvisioned(MammoctlError):
    """The cluster has no cluster.json, or not one of this schema."""


class _Part(BaseModel):
    # Unknown keys are left alone: a newer mammoctl may have provisioned the cluster.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Master(_Part):
    """The master: its inventory name, address, ``spark://`` URL and the port of its pages.

    ``history_port`` is that of the history server; None where there is none.
    """

    host: str
    address: str
    url: str
    ui_port: int
    history_port: int | None = None


class Worker(_Part):
    """What a worker registers with: address, cores, memory in MiB for executors, GPUs."""

    address: str = ""
    cores: int
    memory_mb: int
    gpus: int = 0


class Storage(_Part):
    """The storage that all nodes share and the URI below which everything of ours lies."""

    kind: Literal["hdfs", "shared", "local"]
    uri: str
    replication: int = 1


class Paths(_Part):
    """URIs on the storage."""

    data: str
    features: str
    weights: str
    results: str
    events: str


class Executor(_Part):
    """One executor per worker: cores, the heap of its JVM in MiB, GPUs that every worker has."""

    cores: int
    memory_mb: int
    gpus: int = 0


class ClusterFile(_Part):
    """The whole record; see docs/architecture.md.

    ``java_home`` is the master's, where drivers run; ``java_homes`` names each node's.
    ``training_ports`` (FIRST-LAST) are those that the guard keeps for synchronous training.
    ``wireguard`` is the interface between the nodes, where WireGuard is on.
    """

    schema_: Literal[1]
    cluster: str
    master: Master
    workers: dict[str, Worker]
    storage: Storage
    paths: Paths
    python: str
    python_version: str
    spark_home: str
    spark_version: str
    java_home: str
    java_homes: dict[str, str] = {}
    executor: Executor
    training_ports: str = ""
    wireguard: str = ""
    bundle: str
    tensorflow_variant: dict[str, str] = {}

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=lambda name: name.removesuffix("_"),
        populate_by_name=True,
    )


def parse(text: str, *, where: str = PATH) -> ClusterFile:
    """Read the record from its text.

    Raises:
        NotProvisioned: it is not a record of the known schema.
    """
    try:
        return ClusterFile.model_validate_json(text)
    except ValidationError as exc:
        raise NotProvisioned(
            f"{where} is not what this version of mammoctl writes",
            details=[
                f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
                for error in exc.errors()[:5]
            ],
            hint="provision again with this version: mammoctl provision",
        ) from exc


def read(nodes: Nodes) -> ClusterFile:
    """Read the record from the cluster's master.

    Raises:
        NotProvisioned: the cluster has not been provisioned (with this version).
        ConnectionFailed: the master cannot be reached.
    """
    master = nodes.cluster.master
    result = nodes.run(master, ["cat", "--", PATH], check=False)
    if result.rc:
        if "No such file" not in result.stderr:
            raise RemoteError(f"{master.name}: cannot read {PATH}", details=[result.stderr.strip()])
        raise NotProvisioned(
            f"the cluster {nodes.cluster.name} has not been provisioned: "
            f"there is no {PATH} on {master.name}",
            hint="run `mammoctl provision`",
        )
    return parse(result.stdout, where=f"{PATH} on {master.name}")
