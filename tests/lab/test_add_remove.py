"""A node leaves a cluster with data on it, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from .conftest import Cli
from .own_lab import OwnLab, own_lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET = "mmleave", "10.213.15.0/24"
COMMENT = "# A note of the administrator's.\n"
HDFS = "/opt/mammoctl/bin/hdfs"


@pytest.fixture(scope="module")
def ward(cli: Cli) -> Iterator[OwnLab]:
    with own_lab(cli, LAB, SUBNET, "--nodes", "3") as lab:
        hosts = lab.inventory / "hosts.yml"
        hosts.write_text(COMMENT + hosts.read_text())
        lab.run("provision", "--json")
        first = lab.nodes[0]
        lab.on(
            first,
            "head -c 30000000 /dev/urandom > /tmp/data && sha256sum < /tmp/data > /tmp/sum &&"
            f" {HDFS} dfs -D dfs.replication=3 -put /tmp/data /mammoctl/kept &&"
            f" {HDFS} dfs -D dfs.replication=1 -put /tmp/data /mammoctl/single",
        )
        yield lab


def data_is_there(ward: OwnLab) -> None:
    """The files can be read whole, and HDFS is content with the number of their copies."""
    for name in ("kept", "single"):
        ward.on(ward.nodes[0], f"{HDFS} dfs -cat /mammoctl/{name} | sha256sum | cmp - /tmp/sum")
    said = ward.on(ward.nodes[0], f"{HDFS} fsck /mammoctl", rc=None)
    assert "is HEALTHY" in said, said


def hosts(ward: OwnLab) -> Any:
    return yaml.safe_load((ward.inventory / "hosts.yml").read_text())["all"]


def test_a_node_leaves_and_nothing_is_lost(ward: OwnLab) -> None:
    leaving = ward.nodes[2]
    # its only copy is on the node that leaves
    ward.on(leaving, f"{HDFS} dfs -D dfs.replication=1 -put - /mammoctl/own", stdin="mine")
    refused = ward.cli("node", "remove", leaving, "-i", ward.name, rc=2)
    assert "--yes" in refused.stderr
    ward.cli("node", "remove", leaving, "-i", ward.name, "--yes", "--wait", "900", timeout=1500)
    assert set(hosts(ward)["hosts"]) == set(ward.nodes[:2])
    assert (ward.inventory / "hosts.yml").read_text().startswith(COMMENT)
    data_is_there(ward)
    assert ward.on(ward.nodes[0], f"{HDFS} dfs -cat /mammoctl/own") == "mine"
    state = ward.run("status", "--json").json()
    assert state["ok"], state["findings"]
    assert {
        worker["host"] for worker in state["spark"]["workers"] if worker["state"] == "ALIVE"
    } == set(ward.nodes[:2])
    for unit in ("spark-worker", "hdfs-datanode"):
        assert ward.on(leaving, f"systemctl is-enabled {unit}", rc=None) == "disabled"
        assert ward.on(leaving, f"systemctl is-active {unit}", rc=None) in ("inactive", "failed")
    assert ward.run("plan", "--json").json()["changes"] == []


def test_and_comes_back(ward: OwnLab) -> None:
    name = ward.nodes[2]
    lab = ward.cli("lab", "status", "--name", ward.name, "--json").json()
    address = next(node["address"] for node in lab["nodes"] if node["name"] == name)
    ward.cli(
        "node", "add", f"{name}={address}", "-i", ward.name, "--accept-new-host-keys", "--yes",
        timeout=1500,
    )  # fmt: skip
    assert hosts(ward)["hosts"][name]["ansible_host"] == address
    data_is_there(ward)
    state = ward.run("status", "--json").json()
    assert state["ok"], state["findings"]
    assert name in state["hdfs"]["live"]
    verdict = ward.run("verify", "--json", rc=None).json()
    assert verdict["ok"], [check for check in verdict["checks"] if check["outcome"] != "passed"]


def test_the_master_does_not_leave(ward: OwnLab) -> None:
    done = ward.cli("node", "remove", ward.nodes[0], "-i", ward.name, "--yes", rc=2)
    assert "is the master" in done.stderr
