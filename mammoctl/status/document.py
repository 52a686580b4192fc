"""A cluster's state as plain values, for ``status --json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mammoctl.errors import MammoctlError
from mammoctl.status.node import NodeState

if TYPE_CHECKING:
    from mammoctl.status.state import ClusterState

SCHEMA = 1


def document(state: ClusterState) -> dict[str, Any]:
    """Return the state; sizes are in MiB where the name says ``_mb``, else in bytes.

    What could not be asked is ``null``, and a finding says why.
    """
    record, spark = state.record, state.spark
    return {
        "schema": SCHEMA,
        "cluster": state.cluster.name,
        "ok": state.ok,
        "at": round(state.at, 3),
        "seconds": round(state.seconds, 3),
        "spark_version": record.spark_version if record else None,
        "nodes": [_node(state, name, seen) for name, seen in state.nodes.items()],
        "spark": spark.model_dump(exclude={"activeapps"}) if spark else None,
        "hdfs": asdict(state.hdfs) if state.hdfs else None,
        "applications": [asdict(app) for app in state.applications] if spark else None,
        "jobs": None if state.jobs is None else [asdict(job) for job in state.jobs],
        "findings": [finding.as_json() for finding in state.findings],
    }


def _node(state: ClusterState, name: str, seen: NodeState | MammoctlError) -> dict[str, Any]:
    host = state.cluster.hosts[name]
    about = {
        "name": name,
        "address": host.address,
        "master": host == state.cluster.master,
        "worker": host in state.cluster.workers,
        "up": isinstance(seen, NodeState),
    }
    if not isinstance(seen, NodeState):
        return about
    values = asdict(seen) | {"disks": [asdict(d) | {"percent": d.percent} for d in seen.disks]}
    values["bundle"] = seen.record.bundle if seen.record else None
    values["provisioned"] = values.pop("record") is not None
    return about | values
