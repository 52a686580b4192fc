"""Ask every node at once, and say what is wrong; a node that is silent holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mammoctl import role_settings
from mammoctl.errors import ConnectionFailed, MammoctlError
from mammoctl.status import master, node
from mammoctl.status.judge import judge
from mammoctl.status.node import NodeState
from mammoctl.status.state import ClusterState

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

T = TypeVar("T")

CONNECT_S = 1.2
"""Seconds for a connection: a first packet that is lost is sent again after one."""

ANSWER_S = 5.0
"""Seconds after which a node that took the connection counts as silent."""

JOBS = 5

_DISKS = ("hdfs_data_dir", "hdfs_name_dir", "spark_var_dir")


def gather(nodes: Nodes, *, jobs: int = JOBS, answer_s: float = ANSWER_S) -> ClusterState:
    """Ask every node of the cluster, and the master about the whole.

    Args:
        nodes: the way to them.
        jobs: how many of the newest jobs to list.
        answer_s: seconds that a node, once connected, may take for an answer.
    """
    cluster = nodes.cluster
    began = time.monotonic()
    state = ClusterState(cluster, time.time(), {})

    def look(name: str) -> NodeState:
        own = cluster.hosts[name].vars
        line = node.script(str(role_settings.value(own, one)) for one in _DISKS)
        found = node.parse(nodes.run(name, line, timeout=answer_s).stdout)
        if name == cluster.master.name and found.record:
            _ask_master(nodes, found.record, state, jobs, answer_s)
        return found

    # The master is asked twice: about itself, then about the whole.
    longest = CONNECT_S + 2 * answer_s
    seen = at_once({name: partial(look, name) for name in cluster.hosts}, longest)
    state.nodes = {
        name: out
        if not isinstance(out, TimeoutError)
        else ConnectionFailed(
            f"{name} does not answer: nothing in {longest:g} s",
            hint=f"is it overloaded? wait longer with --timeout {2 * answer_s:g}",
        )
        for name, out in seen.items()
    }
    state.record = _record(cluster, state.nodes)
    state.seconds = time.monotonic() - began
    state.findings = judge(state)
    return state


def _ask_master(
    nodes: Nodes, record: ClusterFile, state: ClusterState, jobs: int, answer_s: float
) -> None:
    questions: dict[str, Callable[[], object]] = {
        "spark": lambda: master.spark(nodes, record),
        "jobs": lambda: master.jobs(nodes, jobs),
    }
    if record.storage.kind == "hdfs":
        questions["hdfs"] = lambda: master.hdfs(nodes, record)
    for name, answer in at_once(questions, answer_s).items():
        if isinstance(answer, TimeoutError):
            state.unanswered[name] = MammoctlError(f"{name}: no answer in {answer_s:g} s")
        elif isinstance(answer, MammoctlError):
            state.unanswered[name] = answer
        else:
            setattr(state, name, answer)


def _record(cluster: Cluster, seen: Mapping[str, NodeState | MammoctlError]) -> ClusterFile | None:
    order: Iterable[str] = [cluster.master.name, *cluster.hosts]
    records = [found.record for name in order if isinstance(found := seen[name], NodeState)]
    return next((record for record in records if record), None)


def at_once(
    questions: Mapping[str, Callable[[], T]], seconds: float
) -> dict[str, T | MammoctlError | TimeoutError]:
    """Call all functions at once; who has not returned in time is left behind.

    Threads of their own, because a pool would wait for the last of them when the program ends.
    """
    answers: dict[str, T | MammoctlError | TimeoutError] = {}
    failures: list[BaseException] = []

    def ask(name: str, question: Callable[[], T]) -> None:
        try:
            answers[name] = question()
        except MammoctlError as exc:
            answers[name] = exc
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=ask, args=item, daemon=True) for item in questions.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if failures:
        raise failures[0]
    known = dict(answers)  # late answers must not change what is returned
    return {name: known.get(name, TimeoutError()) for name in questions}
