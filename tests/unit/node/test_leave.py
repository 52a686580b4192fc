"""A worker leaves: what is refused, what is waited for, what is asked of Spark and HDFS."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from mammoctl import cluster as clusters
from mammoctl.errors import RemoteError, UsageError
from mammoctl.inventory import Cluster, Host
from mammoctl.node import leave
from mammoctl.spark_master import MasterState, Worker
from mammoctl.status.master import Hdfs
from mammoctl.status.node import NodeState
from mammoctl.status.state import ClusterState

RECORD = clusters.parse(
    json.dumps(
        {
            "schema": 1,
            "cluster": "ward",
            "master": {
                "host": "n1", "address": "10.0.0.1", "url": "spark://n1:7077", "ui_port": 8080
            },
            "workers": {
                f"n{n}": {"address": f"10.0.0.{n}", "cores": 4, "memory_mb": 1024}
                for n in (1, 2, 3)
            },
            "storage": {"kind": "hdfs", "uri": "hdfs://n1:8020/mammoctl", "replication": 3},
            "paths": dict.fromkeys(["data", "features", "weights", "results", "events"], "x"),
            "python": "x", "python_version": "3.11", "spark_home": "x", "spark_version": "4.3.0",
            "java_home": "x", "executor": {"cores": 1, "memory_mb": 1}, "bundle": "b",
        }
    )
)  # fmt: skip
HOSTS = {f"n{n}": Host(f"n{n}", f"10.0.0.{n}") for n in (1, 2, 3)}
WARD = Cluster("ward", None, None, HOSTS, HOSTS["n1"], list(HOSTS.values()))  # type: ignore[arg-type]
GIB = 2**30


def live(state="In Service", used=GIB, remaining=5 * GIB):
    return {"adminState": state, "usedSpace": used, "remaining": remaining, "infoAddr": "x:1"}


def page(left=0, **states):
    """Return the NameNode's page; the third node is known by its address alone."""
    nodes = {"n1": live(), "n2": live(), "10.0.0.3": live()} | states
    leaving = {"10.0.0.3:9866": {"underReplicatedBlocks": left}}
    info = {
        "LiveNodes": json.dumps({f"{name}:9866": about for name, about in nodes.items()}),
        "DecomNodes": json.dumps(leaving if left else {}),
    }
    return {"beans": [info]}


class FakeNodes:
    """The master: takes down what is run there."""

    cluster = WARD

    def __init__(self, pages=(), replication="3", known=True, kill=""):
        self.pages, self.replication, self.known, self.kill = list(pages), replication, known, kill
        self.ran, self.files = [], {}

    def run(self, host, command, *, sudo=False, check=True, timeout=None):
        assert getattr(host, "name", host) == "n1"
        self.ran.append(command)
        if "grep" in command:
            return SimpleNamespace(ok=self.known)
        if "getconf" in command:
            return SimpleNamespace(ok=True, stdout=f"{self.replication}\n")
        if leave._LET_GO in command:
            return SimpleNamespace(ok=not self.kill, stderr=self.kill)
        return SimpleNamespace(ok=True, stdout="")

    def put(self, host, content, target, *, sudo):
        self.files[target] = content

    def http_json(self, host, url, *, timeout):
        assert url.startswith("http://10.0.0.1:9870/jmx")
        return self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]


def state(**changes):
    node = NodeState(RECORD, True, "", 4, 0.1, 1.0, 1000, 100)
    hdfs = Hdfs(1, 1, 1, (), (), 0, "")
    found = ClusterState(WARD, 0.0, dict.fromkeys(HOSTS, node), RECORD, hdfs=hdfs)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_the_master_and_the_last_worker_stay():
    with pytest.raises(UsageError, match="n1 is the master"):
        leave.refuse(WARD, RECORD, "n1")
    alone = replace(WARD, workers=[HOSTS["n2"]])
    with pytest.raises(UsageError, match="n2 is the only worker"):
        leave.refuse(alone, RECORD, "n2")
    leave.refuse(WARD, RECORD, "n2")


def test_data_does_not_change_its_place_by_the_way():
    two = replace(WARD, hosts={"n1": HOSTS["n1"], "n2": HOSTS["n2"]})
    with pytest.raises(UsageError) as caught:
        leave.refuse(two, RECORD, "n2")
    assert "with 1 nodes data lies in storage `local`" in caught.value.message
    assert "declare `mammoctl_storage: hdfs`" in caught.value.hint
    leave.refuse(replace(two, vars={"mammoctl_storage": "hdfs"}), RECORD, "n2")
    one = replace(WARD, hosts={"n1": HOSTS["n1"]})
    with pytest.raises(UsageError, match="with 2 nodes data lies in storage `hdfs`"):
        leave.refuse_move(one, 2)
    leave.refuse_move(WARD, 30)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": {**state().nodes, "n2": RemoteError("gone")}}, "n2: no answer"),
        ({"hdfs": None}, "HDFS cannot be written"),
        ({"hdfs": Hdfs(1, 1, 1, (), (), 0, "on")}, "HDFS cannot be written"),
        ({"hdfs": Hdfs(1, 1, 1, (), (), 7, "")}, "HDFS misses 7 blocks"),
    ],
)
def test_the_others_must_be_well(changes, message):
    with pytest.raises(leave.NotDrained, match=message):
        leave.require(state(**changes), RECORD, "n3")


def test_the_one_that_leaves_need_not_be():
    leave.require(state(nodes={**state().nodes, "n3": RemoteError("gone")}), RECORD, "n3")


def test_the_others_must_have_room():
    nodes = FakeNodes([page()])
    leave.require_room(leave.blocks(nodes, RECORD), RECORD, "n3")
    full = page(n1=live(remaining=GIB // 2), n2=live(remaining=GIB // 2))
    with pytest.raises(leave.NotDrained, match=r"the blocks of n3 \(1\.0 GiB\) have no room"):
        leave.require_room(leave.parse_blocks(full), RECORD, "n3")


def test_what_the_namenode_says_is_understood_or_told():
    assert leave.of(leave.parse_blocks(page(left=4)), RECORD, "n3").left == 4
    for document in ({}, {"beans": []}, {"beans": [{"LiveNodes": "{"}]}, []):
        with pytest.raises(RemoteError, match="not understood"):
            leave.parse_blocks(document)


def test_cores_that_are_held_are_counted_where_they_are():
    workers = [
        Worker(id=n, host=n, port=1, cores=4, cores_used=used, memory_mb=1, state="ALIVE")
        for n, used in (("n2", 3), ("n3", 2))
    ]
    spark = MasterState(url="u", status="ALIVE", workers=workers)
    assert leave.work_on(state(spark=spark), "n3") == 2
    assert leave.work_on(state(), "n3") == 0


def test_spark_is_asked_on_the_master_itself():
    nodes = FakeNodes()
    assert leave.let_spark_go(nodes, RECORD, "n3") == ""
    assert nodes.ran[0][-2:] == ["http://10.0.0.1:8080", "n3"]
    assert leave.let_spark_go(FakeNodes(kill="x\nHTTP 405\n"), RECORD, "n3") == "HTTP 405"
    compile(leave._LET_GO, "program", "exec")


def test_blocks_are_copied_before_the_node_goes():
    going, gone = live("Decommission In Progress"), live("Decommissioned")
    nodes = FakeNodes(
        [
            page(left=9, **{"10.0.0.3": going}),
            page(**{"10.0.0.3": going}),
            page(**{"10.0.0.3": gone}),
        ]
    )
    told, slept = [], []
    leave.copy_blocks(nodes, RECORD, "n3", wait_s=60, told=told.append, sleep=slept.append)
    assert nodes.files == {leave.EXCLUDED: b"10.0.0.3\n"}
    # two workers can hold two copies: a third would be waited for in vain
    verbs = [" ".join(command[1:]) for command in nodes.ran if command[0] == leave._HDFS]
    assert verbs == [
        "getconf -confKey dfs.replication",
        "dfs -setrep -R 2 /",
        "dfsadmin -refreshNodes",
    ]
    assert told == ["9 blocks to copy", "decommission in progress"]
    assert len(slept) == 2


def test_fewer_copies_than_workers_stay_as_they_are():
    nodes = FakeNodes([page(**{"10.0.0.3": live("Decommissioned")})], replication="2")
    leave.copy_blocks(nodes, RECORD, "n3", wait_s=60, told=print)
    assert not [command for command in nodes.ran if "-setrep" in command]


def test_what_takes_too_long_goes_on_there():
    nodes = FakeNodes([page(left=5, **{"10.0.0.3": live("Decommission In Progress")})])
    with pytest.raises(leave.NotDrained) as caught:
        leave.copy_blocks(nodes, RECORD, "n3", wait_s=0, told=print, sleep=print)
    assert "5 blocks are still to be copied" in caught.value.message
    assert "the same command again" in caught.value.hint


def test_an_older_cluster_is_provisioned_first():
    nodes = FakeNodes([page()], known=False)
    with pytest.raises(UsageError) as caught:
        leave.copy_blocks(nodes, RECORD, "n3", wait_s=0, told=print)
    assert caught.value.hint.startswith("mammoctl provision")
    assert nodes.files == {}


def test_jobs_are_held_back_by_a_name_on_the_master_and_let_in_again():
    nodes = FakeNodes()
    leave.hold_back(nodes, "n3")
    assert nodes.files == {"/run/mammoctl-leaving": b"n3\n"}
    leave.let_in(nodes)
    assert nodes.ran == [["rm", "-f", "/run/mammoctl-leaving"]]
