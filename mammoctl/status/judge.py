"""Compare what the nodes and the master say with what was provisioned and what is pinned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mammoctl import role_settings, spark_master
from mammoctl.findings import Finding, of_error
from mammoctl.status.node import NodeState

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.inventory import Cluster
    from mammoctl.status.state import ClusterState

AGAIN = "mammoctl provision"

FULL_PERCENT = 90
"""A disk that is fuller is a finding; HDFS and Spark stop writing soon after."""


LOCKDOWN = "mammoctl-lockdown"


def duties(record: ClusterFile, name: str, *, locked: bool = False) -> list[str]:
    """Return the services that a node should run, in the order of their start.

    Args:
        record: the cluster.
        name: of the node.
        locked: it has a lock-down, which the record does not know of.
    """
    is_master, is_worker = name == record.master.host, name in record.workers
    hdfs = record.storage.kind == "hdfs"
    wanted = [
        ("mammoctl-guard", is_master or is_worker),
        ("mammoctl-wireguard", bool(record.wireguard) and (is_master or is_worker)),
        (LOCKDOWN, locked and (is_master or is_worker)),
        ("hdfs-namenode", hdfs and is_master),
        ("hdfs-datanode", hdfs and is_worker),
        ("spark-master", is_master),
        ("spark-worker", is_worker),
        ("spark-history", is_master and record.master.history_port is not None),
    ]
    return [unit for unit, due in wanted if due]


def judge(state: ClusterState) -> list[Finding]:
    """Return everything that is not as it should be, the nodes' own matters first."""
    found = services(state)
    for name, seen in state.nodes.items():
        if isinstance(seen, NodeState) and seen.record:
            found += list(_machine(name, seen, seen.record))
    if state.record:
        found += list(_blocks(state, state.record))
        found += list(_versions(state, state.record))
        if "jobs" in state.unanswered:
            found.append(of_error(state.cluster.master.name, state.unanswered["jobs"]))
    return found


def services(state: ClusterState) -> list[Finding]:
    """Return what keeps nodes or the whole from working, apart from the machines themselves."""
    found: list[Finding] = []
    for name, seen in state.nodes.items():
        if isinstance(seen, NodeState):
            found += list(_units(state.cluster, name, seen))
        else:
            found.append(of_error(name, seen))
    if state.record:
        found += list(_spark(state, state.record))
        found += list(_hdfs(state, state.record))
    return found


def _units(cluster: Cluster, name: str, seen: NodeState) -> Iterator[Finding]:
    if seen.record is None:
        what = "half provisioned" if seen.installed else "not provisioned"
        yield Finding(name, what, AGAIN)
        return
    optional = role_settings.is_on(cluster.vars.get("mammoctl_private_network"))
    locked = role_settings.flag(cluster.hosts[name].vars, "lockdown_enabled")
    if locked and LOCKDOWN not in seen.units:
        # Nothing that a start could mend.
        yield Finding(name, "the lock-down is declared and not there", AGAIN, grave=False)
    for unit in duties(seen.record, name, locked=locked and LOCKDOWN in seen.units):
        yield from _unit(name, unit, seen, may_miss=optional and unit == "mammoctl-guard")


def _machine(name: str, seen: NodeState, record: ClusterFile) -> Iterator[Finding]:
    for disk in seen.disks:
        if disk.percent >= FULL_PERCENT:
            yield Finding(
                name,
                f"the disk of {disk.path} is {disk.percent} % full ({disk.free_mb} MiB free)",
                "free space there, or add a disk; what data sets and features take, by name: "
                "hdfs dfs -du -h /mammoctl/data /mammoctl/features",
            )
    if seen.cards > len(seen.gpus):
        yield Finding(
            name,
            f"{seen.cards - len(seen.gpus)} NVIDIA GPU without a working driver",
            "see docs/gpu.md; restart the machine after a driver was installed",
            grave=record.tensorflow_variant.get(name) == "gpu",
        )
    if seen.reboot:
        yield Finding(name, "waits for a restart of the machine (updates)", grave=False)


def _unit(name: str, unit: str, seen: NodeState, *, may_miss: bool) -> Iterator[Finding]:
    found = seen.units.get(unit)
    if may_miss and (found is None or found.active != "active"):
        return
    start = f"mammoctl start --node {name}"
    if found is None:
        yield Finding(name, f"{unit} is not installed", "mammoctl provision")
    elif found.active in ("failed", "activating", "reloading") or found.sub == "auto-restart":
        state = "failed" if found.active == "failed" else f"is {found.sub}"
        again = f" ({found.restarts} restarts)" if found.restarts else ""
        yield Finding(
            name, f"{unit} {state}{again}", f"see why: journalctl -u {unit} on {name}; {start}"
        )
    elif found.active != "active":
        yield Finding(name, f"{unit} is stopped", start)
    elif found.enabled == "disabled":
        yield Finding(name, f"{unit} does not start at boot", "mammoctl provision", grave=False)


def _down(state: ClusterState, name: str, unit: str) -> bool:
    """Tell whether a node or its service is known to be off: that is told once."""
    seen = state.nodes.get(name)
    if not isinstance(seen, NodeState):
        return seen is not None
    return unit not in seen.units or seen.units[unit].active != "active"


def _spark(state: ClusterState, record: ClusterFile) -> Iterator[Finding]:
    if state.spark is None:
        why = state.unanswered.get("spark")
        if why and not _down(state, record.master.host, "spark-master"):
            yield of_error(record.master.host, why)
        return
    if state.spark.status != "ALIVE":
        yield Finding(record.master.host, f"the Spark master is {state.spark.status}", "wait")
    expected = {
        name: (worker.address, worker.cores, worker.memory_mb)
        for name, worker in record.workers.items()
    }
    for name, wrong in spark_master.differences(state.spark, expected).items():
        if not _down(state, name, "spark-worker"):
            mend = f"mammoctl restart --node {name}"
            yield from (Finding(name, f"Spark's worker: {text}", mend) for text in wrong)


def _hdfs(state: ClusterState, record: ClusterFile) -> Iterator[Finding]:
    where = record.master.host
    if state.hdfs is None:
        why = state.unanswered.get("hdfs")
        if why and not _down(state, where, "hdfs-namenode"):
            yield of_error(where, why)
        return
    if state.hdfs.safe_mode:
        yield Finding(where, "HDFS is in safe mode: nothing can be written", "wait, or start all")
    for name, worker in record.workers.items():
        live = name in state.hdfs.live or worker.address in state.hdfs.live
        if not live and not _down(state, name, "hdfs-datanode"):
            mend = f"mammoctl restart --node {name}"
            yield Finding(name, "its DataNode is not live for the NameNode", mend)


def _blocks(state: ClusterState, record: ClusterFile) -> Iterator[Finding]:
    if state.hdfs and state.hdfs.missing_blocks:
        yield Finding(
            record.master.host,
            f"HDFS misses {state.hdfs.missing_blocks} blocks: files cannot be read",
            "start the nodes that are down; what stays missing is lost: push it again",
        )


def _versions(state: ClusterState, record: ClusterFile) -> Iterator[Finding]:
    from mammoctl.bundle import versions

    pinned = versions.load()["spark"]["default"]
    if record.spark_version != pinned:
        yield Finding(
            "",
            f"the cluster has Spark {record.spark_version}; this mammoctl installs {pinned}",
            "mammoctl upgrade, or use the mammoctl that it was provisioned with",
            grave=False,
        )
    again = "mammoctl provision"
    known = {n: s for n, s in state.nodes.items() if isinstance(s, NodeState) and s.record}
    for name, seen in known.items():
        mine = seen.record
        if mine and mine.bundle != record.bundle:
            yield Finding(name, f"has the bundle {mine.bundle}, others {record.bundle}", again)
    for env, names in _minority(record, known).items():
        for name in names:
            yield Finding(name, f"its Python environment differs: {env or 'missing'}", again)
    yield from _unknown(state.cluster, record)


def _minority(record: ClusterFile, known: dict[str, NodeState]) -> dict[str, list[str]]:
    """Return the environments that fewer nodes of a kind have: key -> names of the nodes."""
    kinds: dict[str, dict[str, list[str]]] = {}
    for name, seen in known.items():
        kind = record.tensorflow_variant.get(name, "")
        kinds.setdefault(kind, {}).setdefault(seen.env, []).append(name)
    found: dict[str, list[str]] = {}
    for by_env in kinds.values():
        usual = max(by_env, key=lambda env: (bool(env), len(by_env[env])))
        found |= {env: names for env, names in by_env.items() if env != usual}
    return found


def _unknown(cluster: Cluster, record: ClusterFile) -> Iterator[Finding]:
    have = {record.master.host, *record.workers}
    for name in cluster.hosts:
        if name not in have:
            yield Finding(name, "is in the inventory, not yet in the cluster", "mammoctl provision")
    for name in have - set(cluster.hosts):
        yield Finding(name, "is in the cluster, not in the inventory", "mammoctl provision")
