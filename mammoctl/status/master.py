"""What the master knows about the whole: Spark's workers, HDFS, applications and jobs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mammoctl import role_settings, spark_master
from mammoctl.cluster import ClusterFile
from mammoctl.errors import RemoteError

if TYPE_CHECKING:
    from mammoctl.spark_master import MasterState
    from mammoctl.ssh import Nodes

_JMX = "/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"


@dataclass(frozen=True)
class Hdfs:
    """HDFS as the NameNode sees it; sizes in bytes, nodes by the names of their hosts."""

    capacity: int
    used: int
    free: int
    live: tuple[str, ...]
    dead: tuple[str, ...]
    missing_blocks: int
    safe_mode: str


@dataclass(frozen=True)
class Application:
    """A running Spark application."""

    id: str
    name: str
    cores: int
    memory_mb: int
    state: str
    seconds: float


@dataclass(frozen=True)
class Job:
    """A job of ``mammoctl submit``; times in seconds since 1970, None while unknown."""

    id: str
    state: str
    data: str
    submitted_at: float | None
    started_at: float | None
    finished_at: float | None
    reason: str


def spark(nodes: Nodes, record: ClusterFile) -> MasterState:
    """Ask the Spark master.

    Raises:
        RemoteError: it does not answer.
    """
    url = f"http://{record.master.address}:{record.master.ui_port}/json/"
    return spark_master.parse(nodes.http_json(nodes.cluster.master, url, timeout=5))


def hdfs_page(nodes: Nodes, record: ClusterFile) -> str:
    """Return the address of the NameNode's pages."""
    port = role_settings.number(nodes.cluster.vars, "hdfs_namenode_http_port")
    return f"http://{record.master.address}:{port}"


def hdfs(nodes: Nodes, record: ClusterFile) -> Hdfs:
    """Ask the NameNode.

    Raises:
        RemoteError: it does not answer.
    """
    url = hdfs_page(nodes, record) + _JMX
    return parse_hdfs(nodes.http_json(nodes.cluster.master, url, timeout=5))


def parse_hdfs(document: Any) -> Hdfs:
    """Read the NameNode's bean ``NameNodeInfo``.

    Raises:
        RemoteError: it is something else.
    """
    try:
        info = document["beans"][0]
        return Hdfs(
            capacity=int(info["Total"]),
            used=int(info["Used"]),
            free=int(info["Free"]),
            live=_names(info["LiveNodes"]),
            dead=_names(info["DeadNodes"]),
            missing_blocks=int(info["NumberOfMissingBlocks"]),
            safe_mode=str(info["Safemode"] or ""),
        )
    except (LookupError, TypeError, ValueError) as exc:
        raise RemoteError(
            "the NameNode's answer is not understood",
            hint="is another program listening on its port?",
        ) from exc


def _names(text: str) -> tuple[str, ...]:
    """Return the hosts of a map of DataNodes, which comes as JSON inside JSON: NAME:PORT -> ..."""
    return tuple(sorted(key.rpartition(":")[0] or key for key in json.loads(text)))


def applications(state: MasterState) -> list[Application]:
    """Return the running applications that the Spark master knows."""
    return [
        Application(
            id=str(app.get("id", "")),
            name=str(app.get("name", "")),
            cores=int(app.get("cores") or 0),
            memory_mb=int(app.get("memoryperexecutor") or app.get("memoryperslave") or 0),
            state=str(app.get("state", "")),
            seconds=float(app.get("duration") or 0) / 1000,
        )
        for app in state.activeapps
    ]


def jobs(nodes: Nodes, newest: int) -> list[Job]:
    """Return the newest jobs, the newest first.

    Raises:
        RemoteError: their records cannot be read.
    """
    from mammoctl.jobs.known import list_jobs

    return [_job(item) for item in list_jobs(nodes)[::-1][:newest]]


def _job(item: dict[str, Any]) -> Job:
    spec, state = item["spec"], item["state"]
    return Job(
        id=str(spec["id"]),
        state=str(state["state"]),
        data=str(spec.get("data") or spec.get("script") or ""),
        submitted_at=spec.get("submitted_at"),
        started_at=state.get("started_at"),
        finished_at=state.get("finished_at"),
        reason=str(state.get("reason") or ""),
    )
