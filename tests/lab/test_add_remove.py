"""A node leaves a cluster with data on it, and comes back."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .own_lab import OwnLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

COMMENT = "# A note of the administrator's.\n"
HDFS = "/opt/mammoctl/bin/hdfs"


@pytest.fixture(scope="module")
def lab(own_cluster: OwnLab) -> OwnLab:
    hosts = own_cluster.inventory / "hosts.yml"
    hosts.write_text(COMMENT + hosts.read_text())
    own_cluster.on(
        own_cluster.nodes[0],
        "head -c 30000000 /dev/urandom > /tmp/data && sha256sum < /tmp/data > /tmp/sum &&"
        f" {HDFS} dfs -D dfs.replication=3 -put /tmp/data /mammoctl/kept &&"
        f" {HDFS} dfs -D dfs.replication=1 -put /tmp/data /mammoctl/single",
    )
    return own_cluster


def data_is_there(lab: OwnLab) -> None:
    """The files can be read whole, and HDFS is content with the number of their copies."""
    for name in ("kept", "single"):
        lab.on(lab.nodes[0], f"{HDFS} dfs -cat /mammoctl/{name} | sha256sum | cmp - /tmp/sum")
    said = lab.on(lab.nodes[0], f"{HDFS} fsck /mammoctl", rc=None)
    assert "is HEALTHY" in said, said


def hosts(lab: OwnLab) -> Any:
    return yaml.safe_load((lab.inventory / "hosts.yml").read_text())["all"]


def test_a_node_leaves_and_nothing_is_lost(lab: OwnLab) -> None:
    leaving = lab.nodes[2]
    # its only copy is on the node that leaves
    lab.on(leaving, f"{HDFS} dfs -D dfs.replication=1 -put - /mammoctl/own", stdin="mine")
    refused = lab.cli("node", "remove", leaving, "-i", lab.name, rc=2)
    assert "--yes" in refused.stderr
    lab.cli("node", "remove", leaving, "-i", lab.name, "--yes", "--wait", "900", timeout=1500)
    assert set(hosts(lab)["hosts"]) == set(lab.nodes[:2])
    assert (lab.inventory / "hosts.yml").read_text().startswith(COMMENT)
    data_is_there(lab)
    assert lab.on(lab.nodes[0], f"{HDFS} dfs -cat /mammoctl/own") == "mine"
    state = lab.run("status", "--json").json()
    assert state["ok"], state["findings"]
    assert {
        worker["host"] for worker in state["spark"]["workers"] if worker["state"] == "ALIVE"
    } == set(lab.nodes[:2])
    for unit in ("spark-worker", "hdfs-datanode"):
        assert lab.on(leaving, f"systemctl is-enabled {unit}", rc=None) == "disabled"
        assert lab.on(leaving, f"systemctl is-active {unit}", rc=None) in ("inactive", "failed")
    assert lab.run("plan", "--json").json()["changes"] == []


def test_and_comes_back(lab: OwnLab) -> None:
    name = lab.nodes[2]
    status = lab.cli("lab", "status", "--name", lab.name, "--json").json()
    address = next(node["address"] for node in status["nodes"] if node["name"] == name)
    lab.cli(
        "node", "add", f"{name}={address}", "-i", lab.name, "--accept-new-host-keys", "--yes",
        timeout=1500,
    )  # fmt: skip
    assert hosts(lab)["hosts"][name]["ansible_host"] == address
    data_is_there(lab)
    state = lab.run("status", "--json").json()
    assert state["ok"], state["findings"]
    assert name in state["hdfs"]["live"]
    verdict = lab.run("verify", "--json", rc=None).json()
    assert verdict["ok"], [check for check in verdict["checks"] if check["outcome"] != "passed"]


def test_the_master_does_not_leave(lab: OwnLab) -> None:
    done = lab.cli("node", "remove", lab.nodes[0], "-i", lab.name, "--yes", rc=2)
    assert "is the master" in done.stderr
