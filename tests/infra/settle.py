"""Time for services that have just been started, before they are judged."""

from __future__ import annotations

import time
from collections.abc import Iterable

from infra_support import CheckFailed, Node
from probes import read_master, read_namenode

YOUNG = 180  # seconds after its start in which a service may still be looking for the others
PATIENCE = 120  # seconds; a recovering master gives its workers 60, HDFS stays read-only for 30
SERVICES = ("hdfs-namenode", "hdfs-datanode", "spark-master", "spark-worker")
ASK = (
    "systemctl show --property=ActiveState,ActiveEnterTimestampMonotonic "
    + " ".join(SERVICES)
    + " && python3 -c 'import time; print(time.monotonic())'"
)
# RuntimeError: testinfra, of a host that cannot be reached.
TROUBLE = (CheckFailed, RuntimeError, ValueError, LookupError)


def settle(nodes: Iterable[Node], master: Node) -> None:
    """Wait until the cluster is whole if one of its services is young; then judge it as it is.

    A service that was stopped or has failed is waited for by nobody.
    """
    if not any(_starting(node) for node in nodes):
        return
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not _whole(master):
        time.sleep(2)


def _starting(node: Node) -> bool:
    try:
        shown, _, now = node.text(ASK).rstrip().rpartition("\n")
        units = [
            dict(line.split("=", 1) for line in block.splitlines()) for block in shown.split("\n\n")
        ]
        return any(_young(unit, float(now)) for unit in units)
    except TROUBLE:
        return False  # the checks themselves say what is wrong with the host


def _young(unit: dict[str, str], now: float) -> bool:
    since = float(unit["ActiveEnterTimestampMonotonic"]) / 1e6
    state = unit["ActiveState"]
    return state == "activating" or (state == "active" and now - since < YOUNG)


def _whole(master: Node) -> bool:
    try:
        record = master.record
        state = read_master(master)
        if state.status != "ALIVE" or len(state.alive) < len(record["workers"]):
            return False
        if record["storage"]["kind"] != "hdfs":
            return True
        namenode = read_namenode(master)
        return not namenode["Safemode"] and namenode["NumLiveDataNodes"] >= len(record["workers"])
    except TROUBLE:
        return False
