"""A day with a cluster, by commands: init, check, status, start and stop, the pages."""

from __future__ import annotations

import json
import shutil
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, wait_until

pytestmark = pytest.mark.lab

STATUS_S = 2.0


def by_name(document: Any) -> dict[str, Any]:
    return {node["name"]: node for node in document["nodes"]}


def active(document: Any, name: str) -> set[str]:
    units = by_name(document)[name]["units"]
    return {unit for unit, state in units.items() if state["active"] == "active"}


def test_init_from_the_machines_alone(cli: Cli, lab: str, inventory: Path, tmp_path: Path) -> None:
    """The inventory that init writes leads to the same machines as the lab's own."""
    addresses = [f"{name}={_address(inventory, name)}" for name in NODES]
    words = [word for address in addresses for word in ("--host", address)]
    key = tmp_path / "key"
    shutil.copy(inventory / "id_ed25519", key)
    try:
        login = ("--user", "admin", "--key", str(key))
        refused = cli("init", "again", *words, *login, rc=2)
        assert "have not been confirmed" in refused.stderr
        assert not (inventory.parent / "again").exists()
        done = cli("init", "again", *words, *login, "--accept-new-host-keys", "--json")
        hosts = {host["name"]: host for host in done.json()["hosts"]}
        assert set(hosts) == set(NODES)
        assert all(host["memory_mb"] > 1000 and host["disks"] for host in hosts.values())
        pinned = (inventory / "known_hosts").read_text()
        for line in (inventory.parent / "again" / "known_hosts").read_text().splitlines():
            assert line.split()[2] in pinned
        reached = cli("check", "-i", "again", "--json", rc=None).json()
        assert all(host["reached"] for host in reached["hosts"])
    finally:
        shutil.rmtree(inventory.parent / "again", ignore_errors=True)


def _address(inventory: Path, name: str) -> str:
    text = (inventory / "hosts.yml").read_text()
    return text.partition(f"    {name}:\n      ansible_host: ")[2].partition("\n")[0]


def test_check_of_a_provisioned_cluster(cli: Cli, provisioned: object) -> None:
    """Nothing that is ours is in the way of ourselves: ports, accounts, folders."""
    report = cli("check", "-i", LAB, "--json", rc=None).json()
    assert report["roles_checked"]
    assert [one for one in report["findings"] if one["grave"]] == []


def test_check_finds_a_foreign_port(cli: Cli, provisioned: object, node: Any) -> None:
    node(NODES[1], "systemd-run --unit=foreign python3 -m http.server 7220")
    try:
        time.sleep(1)
        found = cli("check", "-i", LAB, "--json", rc=1).json()["findings"]
        (one,) = [finding for finding in found if finding["grave"]]
        assert one["host"] == NODES[1]
        assert "7220 (python3, foreign.service)" in one["seen"]
        assert one["mend"].startswith("Stop that program")
    finally:
        node(NODES[1], "systemctl stop foreign", rc=None)


def test_status_is_true_and_fast(cli: Cli, provisioned: object) -> None:
    done = cli("status", "-i", LAB, "--json")
    state = done.json()
    assert state["ok"], state["findings"]
    assert {worker["state"] for worker in state["spark"]["workers"]} == {"ALIVE"}
    assert set(state["hdfs"]["live"]) == set(NODES)
    assert state["seconds"] < STATUS_S
    assert "all is well" in cli("status", "-i", LAB).stdout


def test_a_node_stops_and_starts(cli: Cli, provisioned: object) -> None:
    """Status tells what is stopped, and the rest of the cluster goes on."""
    cli("stop", "-i", LAB, "--node", NODES[2], "--yes")
    try:
        state = cli("status", "-i", LAB, "--json", rc=1).json()
        assert active(state, NODES[2]) == {"mammoctl-guard"}
        assert active(state, NODES[1]) >= {"spark-worker", "hdfs-datanode"}
        told = [one["seen"] for one in state["findings"] if one["host"] == NODES[2]]
        assert told == ["hdfs-datanode is stopped", "spark-worker is stopped"]
    finally:
        done = cli("start", "-i", LAB, "--node", NODES[2], "--json").json()
    assert done["nodes"][0]["changed"] == ["hdfs-datanode", "spark-worker"]
    assert cli("status", "-i", LAB, "--json").json()["ok"]


def test_all_stop_and_start(cli: Cli, provisioned: object) -> None:
    cli("stop", "-i", LAB, "--yes")
    state = cli("status", "-i", LAB, "--json", rc=1).json()
    assert all(active(state, name) == {"mammoctl-guard"} for name in NODES)
    cli("start", "-i", LAB)
    assert cli("status", "-i", LAB, "--json").json()["ok"]
    again = cli("start", "-i", LAB, "--json").json()
    assert all(one["changed"] == [] for one in again["nodes"])


def test_a_node_that_is_off_is_told_and_left_out(cli: Cli, provisioned: object) -> None:
    """Nothing waits for it, and nothing is begun that needs it."""
    cli("lab", "stop", NODES[1], "--name", LAB, "--kill")
    try:
        state = cli("status", "-i", LAB, "--json", rc=1).json()
        assert not by_name(state)[NODES[1]]["up"]
        assert by_name(state)[NODES[2]]["up"]
        assert state["spark"]["status"] == "ALIVE"
        assert state["seconds"] < STATUS_S + 5  # that of the host's own network, at the most
        refused = cli("stop", "-i", LAB, "--yes", rc=1)
        assert f"mammoctl stop --node {NODES[0]} --node {NODES[2]}" in refused.stderr
    finally:
        cli("lab", "start", NODES[1], "--name", LAB)

    def well() -> bool:
        """The node is part of the cluster again."""
        return bool(cli("status", "-i", LAB, "--json", rc=None).json()["ok"])

    wait_until(well, seconds=180, every=5)


def test_the_pages(cli: Cli, provisioned: object) -> None:
    process = cli.start("ui", "-i", LAB, "--json")
    try:
        assert process.stdout is not None
        pages = json.loads(process.stdout.readline())["pages"]
        master = next(page for page in pages if page["title"] == "Spark master")
        with urllib.request.urlopen(master["url"], timeout=30) as answer:  # noqa: S310
            text = answer.read().decode()
        workers = [page["url"] for page in pages if page["title"] == "Spark worker"]
        assert len(workers) == len(NODES)
        for url in workers:
            assert url in text  # the links lead here
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
                assert "Spark Worker" in answer.read().decode()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
