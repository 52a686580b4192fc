"""Take a worker out of a cluster without losing anything: drain it, copy its blocks, stop it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mammoctl import cluster as clusters
from mammoctl import targets
from mammoctl.errors import MammoctlError, RemoteError, UsageError
from mammoctl.jobs.remote.queue import LEAVING
from mammoctl.status import master
from mammoctl.status.node import NodeState

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes
    from mammoctl.status.state import ClusterState

EXCLUDED = "/etc/hadoop/exclude"
"""DataNodes that the NameNode lets go; role hdfs makes it, empty."""

_HDFS = "/opt/mammoctl/bin/hdfs"
_PAUSE_S = 2.0
_ROOM = 1.1  # copies need a little more than the blocks' own size

# What the master's page has for it; it asks where the question comes from, and trusts the master.
_LET_GO = """
import sys, urllib.error, urllib.parse, urllib.request
url, host = sys.argv[1:]
data = urllib.parse.urlencode({"host": host}).encode()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    opener.open(urllib.request.Request(url + "/workers/kill/", data=data), timeout=20).read()
except urllib.error.HTTPError as error:
    sys.exit("HTTP %d" % error.code)
except OSError as error:
    sys.exit(str(error))
"""


class NotDrained(MammoctlError):
    """A node is still needed; it has not been stopped."""


@dataclass(frozen=True)
class Blocks:
    """What the NameNode says of one DataNode: bytes, and the blocks that others still lack."""

    state: str
    used: int
    remaining: int
    left: int = 0


def meant(nodes: Nodes, word: str) -> str:
    """Return the worker that is to leave; one that has left the inventory alone counts, too.

    Raises:
        UsageError: there is none.
    """
    try:
        return targets.one(nodes.cluster, word)
    except UsageError:
        with suppress(MammoctlError):
            if word in clusters.read(nodes).workers:
                return word  # it was interrupted before the others had forgotten it
        raise


def without(cluster: Cluster, name: str) -> Cluster:
    """Return a cluster as it will be without one of its workers."""
    hosts = {other: host for other, host in cluster.hosts.items() if other != name}
    workers = [host for host in cluster.workers if host.name != name]
    return replace(cluster, hosts=hosts, workers=workers)


def refuse(cluster: Cluster, record: ClusterFile, name: str) -> None:
    """Refuse what would leave no cluster.

    Raises:
        UsageError: it is the master, the last worker, or data would move.
    """
    if name == cluster.master.name:
        raise UsageError(
            f"{name} is the master, and a cluster has one",
            hint="make a cluster with another master, and push its data again",
        )
    if [host.name for host in cluster.workers] == [name]:
        raise UsageError(f"{name} is the only worker", hint="mammoctl teardown removes a cluster")
    if record.storage.kind == "hdfs":
        refuse_move(cluster, len(cluster.hosts) - 1)


def refuse_move(cluster: Cluster, nodes: int) -> None:
    """Refuse a number of nodes with which data would lie elsewhere, unless that is declared.

    Raises:
        UsageError: it would.
    """
    before, after = len(cluster.hosts) > 1, nodes > 1
    if before != after and not cluster.vars.get("mammoctl_storage"):
        kinds = {True: "hdfs", False: "local"}
        raise UsageError(
            f"with {nodes} nodes data lies in storage `{kinds[after]}` by default, and what is in "
            f"`{kinds[before]}` would be out of sight",
            hint=f"declare `mammoctl_storage: {kinds[before]}` in group_vars/all.yml; or "
            f"`{kinds[after]}`, and push the data again",
        )


def require(state: ClusterState, record: ClusterFile, name: str) -> None:
    """Refuse where the others are not well enough to do without a node.

    Raises:
        NotDrained: they do not answer, or HDFS cannot be written, or misses blocks.
    """
    others = dict.fromkeys([record.master.host, *record.workers])
    silent = [
        other
        for other in others
        if other != name and not isinstance(state.nodes.get(other), NodeState)
    ]
    if silent:
        raise NotDrained(
            f"{', '.join(silent)}: no answer; all others must be well when a node leaves",
            hint="mammoctl status",
        )
    if record.storage.kind == "hdfs":
        if state.hdfs is None or state.hdfs.safe_mode:
            raise NotDrained("HDFS cannot be written now", hint="mammoctl start; mammoctl status")
        if state.hdfs.missing_blocks:
            raise NotDrained(
                f"HDFS misses {state.hdfs.missing_blocks} blocks", hint="mammoctl status"
            )


def work_on(state: ClusterState, name: str) -> int:
    """Return how many cores of a node's worker applications hold."""
    workers = state.spark.alive if state.spark else []
    return sum(worker.cores_used for worker in workers if worker.host == name)


def hold_back(nodes: Nodes, name: str) -> None:
    """Have jobs that come wait for their turn; to be repeated, or it ends after a minute.

    Spark cannot be told to give a worker nothing new and leave its executors in peace: letting a
    worker go takes them out of the applications that run.
    """
    nodes.put(nodes.cluster.master, f"{name}\n".encode(), str(LEAVING), sudo=True)


def let_in(nodes: Nodes) -> None:
    """Let jobs begin again."""
    with suppress(MammoctlError):  # it ends by itself
        nodes.run(nodes.cluster.master, ["rm", "-f", str(LEAVING)], sudo=True, timeout=60)


def let_spark_go(nodes: Nodes, record: ClusterFile, name: str) -> str:
    """Have the Spark master send no more work to a worker; return why it did not, or ''."""
    url = f"http://{record.master.address}:{record.master.ui_port}"
    line = ["/usr/bin/python3", "-c", _LET_GO, url, name]
    done = nodes.run(nodes.cluster.master, line, check=False, timeout=60)
    return "" if done.ok else done.stderr.strip().rpartition("\n")[2]


def blocks(nodes: Nodes, record: ClusterFile) -> dict[str, Blocks]:
    """Return what the NameNode says of each DataNode, by the name or address of its host."""
    url = master.hdfs_page(nodes, record) + "/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"
    return parse_blocks(nodes.http_json(nodes.cluster.master, url, timeout=10))


def parse_blocks(document: Any) -> dict[str, Blocks]:
    """Read the NameNode's bean ``NameNodeInfo``.

    Raises:
        RemoteError: it is something else.
    """
    try:
        info = document["beans"][0]
        live, leaving = json.loads(info["LiveNodes"]), json.loads(info.get("DecomNodes") or "{}")
        found = {}
        for key, value in live.items():
            left = leaving.get(key, {}).get("underReplicatedBlocks", 0)
            about = Blocks(
                str(value["adminState"]),
                int(value["usedSpace"]),
                int(value["remaining"]),
                int(left),
            )
            for host in (key.rpartition(":")[0], str(value.get("infoAddr", "")).rpartition(":")[0]):
                found[host] = about
        return found
    except (KeyError, IndexError, TypeError, ValueError) as exc:
        raise RemoteError(
            f"the NameNode's account of its nodes is not understood: {exc!r}"
        ) from exc


def of(found: dict[str, Blocks], record: ClusterFile, name: str) -> Blocks | None:
    """Return a node's entry; the NameNode knows it by name or by address."""
    return found.get(name) or found.get(record.workers[name].address)


def require_room(found: dict[str, Blocks], record: ClusterFile, name: str) -> None:
    """Refuse where the other DataNodes have no room for the blocks of one.

    Raises:
        NotDrained: they have not.
    """
    mine = of(found, record, name)
    rest = [b for other in record.workers if other != name and (b := of(found, record, other))]
    free = sum(about.remaining for about in rest)
    if mine and mine.used * _ROOM > free:
        raise NotDrained(
            f"the blocks of {name} ({mine.used / 2**30:.1f} GiB) have no room on the others "
            f"({free / 2**30:.1f} GiB free)",
            hint="mammoctl data remove what is not needed, or add a node first",
        )


def copy_blocks(
    nodes: Nodes,
    record: ClusterFile,
    name: str,
    *,
    wait_s: float,
    told: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Have HDFS copy all that only this node would take with it; safe to repeat.

    Args:
        nodes: the way to the master.
        record: the cluster as it is.
        name: of the worker.
        wait_s: seconds that it may take.
        told: is told how far it is.
        sleep: waits a number of seconds.

    Raises:
        NotDrained: it takes longer; it goes on there.
        UsageError: the cluster was provisioned before it could be asked for this.
    """
    there = nodes.cluster.master
    known = nodes.run(there, ["grep", "-q", EXCLUDED, "/etc/hadoop/hdfs-site.xml"], check=False)
    if not known.ok:
        raise UsageError(
            f"{nodes.cluster.name} was provisioned by a mammoctl that could not let nodes go",
            hint="mammoctl provision, then the same command again",
        )
    _lower_replication(nodes, len(record.workers) - 1)
    address = record.workers[name].address or name
    nodes.put(there, f"{address}\n".encode(), EXCLUDED, sudo=True)
    nodes.run(there, [_HDFS, "dfsadmin", "-refreshNodes"], sudo=True, timeout=120)
    deadline = time.monotonic() + wait_s
    while True:
        now = of(blocks(nodes, record), record, name)
        if now is None or now.state == "Decommissioned":
            return
        if time.monotonic() > deadline:
            raise NotDrained(
                f"{name}: {now.left} blocks are still to be copied after {wait_s:g} s",
                hint="HDFS goes on copying; the same command again goes on waiting",
            )
        told(f"{now.left} blocks to copy" if now.left else now.state.lower())
        sleep(_PAUSE_S)


def _lower_replication(nodes: Nodes, workers: int) -> None:
    """Ask for no more copies than there will be workers: the missing ones would be waited for."""
    there = nodes.cluster.master
    asked = nodes.run(
        there, [_HDFS, "getconf", "-confKey", "dfs.replication"], sudo=True, timeout=120
    )
    if int(asked.stdout.strip() or 3) > workers:
        line = [_HDFS, "dfs", "-setrep", "-R", str(workers), "/"]
        nodes.run(there, line, sudo=True, timeout=600)


def keep_all(nodes: Nodes) -> None:
    """Have the NameNode let none go any more; where there is none, nothing is done."""
    line = (
        f"[ -e {EXCLUDED} ] || exit 0; systemctl is-active -q hdfs-namenode || exit 0; "
        f": > {EXCLUDED} && {_HDFS} dfsadmin -refreshNodes"
    )
    nodes.run(nodes.cluster.master, line, sudo=True, timeout=120)
