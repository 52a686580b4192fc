"""exec, ssh, cp and logs on the nodes of a cluster."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .command import Cli
from .conftest import LAB, NODES, _find_address

pytestmark = pytest.mark.lab

TWELVE = "mmtwelve"
PORTS = (2201, 2202, 2203)


def test_exec_on_all_nodes(cli: Cli, lab: str) -> None:
    done = cli("exec", "-i", LAB, "--", "hostname")
    assert sorted(done.stdout.splitlines()) == [f"{name}: {name}" for name in NODES]
    assert cli("exec", "-i", LAB, NODES[1], "--sudo", "--", "id", "-u").stdout == "0\n"
    worst = cli("exec", "-i", LAB, "--", f'[ "$(hostname)" != {NODES[2]} ] || exit 9', rc=9)
    assert f"1 of 3 nodes failed (exit code): {NODES[2]} (9)" in worst.stderr
    assert "did you mean" in cli("exec", "-i", LAB, "mmtst1", "--", "true", rc=2).stderr


def test_exec_tells_of_a_node_that_is_off(cli: Cli, lab: str) -> None:
    cli("lab", "stop", NODES[2], "--name", LAB, "--kill")
    try:
        document = cli("exec", "-i", LAB, "--json", "--", "true", rc=255).json()
        assert [node["reached"] for node in document["nodes"]] == [True, True, False]
    finally:
        cli("lab", "start", NODES[2], "--name", LAB)


def test_ctrl_c_ends_the_command_on_the_nodes(cli: Cli, lab: str, node: Any) -> None:
    """What it started goes as well; what sleeps there is found by its odd number."""
    process = cli.start("exec", "-i", LAB, "--sudo", "--", "echo up; sh -c 'sleep 98765; true'")
    assert process.stdout is not None
    assert sorted(process.stdout.readline() for _ in NODES) == [f"{name}: up\n" for name in NODES]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    time.sleep(2)
    for name in NODES:
        assert node(name, "ps -eo args | grep -c '[9]8765'", rc=None) == "0"


@pytest.fixture
def twelve(cli: Cli, lab: str, inventory: Path, node: Any) -> Iterator[str]:
    """Twelve nodes: each machine answers on four ports, as four would."""
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    folder = inventory.parent / TWELVE
    shutil.copytree(inventory, folder)
    listed: dict[str, dict[str, object]] = {}
    pinned = (inventory / "known_hosts").read_text().splitlines()
    for name in NODES:
        address = _find_address(hosts, name)
        keys = [line.split(" ", 1)[1] for line in pinned if address in line.split(" ", 1)[0]]
        for port in (22, *PORTS):
            listed[f"{name}-{port}"] = {"ansible_host": address, "ansible_port": port}
            pinned += [f"[{address}]:{port} {key}" for key in keys if port != 22]
        for port in PORTS:
            node(name, f"/usr/sbin/sshd -p {port} -o PidFile=/run/sshd-{port}.pid")
    first, *_ = listed
    hosts["all"]["hosts"] = listed
    hosts["all"]["children"] = {
        "spark_master": {"hosts": {first: None}},
        "spark_workers": {"hosts": dict.fromkeys(listed)},
    }
    (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (folder / "known_hosts").write_text("\n".join(pinned) + "\n")
    yield TWELVE
    shutil.rmtree(folder)
    for name in NODES:
        node(name, "cat /run/sshd-*.pid | xargs -r kill")


def test_exec_on_twelve_nodes(cli: Cli, twelve: str) -> None:
    done = cli("exec", "-i", twelve, "--json", "--", "hostname").json()
    assert [node["stdout"] for node in done["nodes"]] == [
        f"{name}\n" for name in NODES for _ in (22, *PORTS)
    ]


def test_ssh(cli: Cli, lab: str) -> None:
    done = cli("ssh", "-i", LAB, NODES[1], "--", "hostname; exit 3", rc=3)
    assert done.stdout == f"{NODES[1]}\n"
    line = cli.argv("ssh", "-i", LAB)  # a shell on the master, as a person would type into it
    shell = subprocess.run(
        line, cwd=cli.cwd, input="hostname\n", capture_output=True, text=True, check=True
    )
    assert NODES[0] in shell.stdout


def test_cp_there_and_back(cli: Cli, lab: str, node: Any, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "data").write_bytes(bytes(range(256)) * 40_000)
    cli("cp", "-i", LAB, str(tree), "all:copied")
    for name in NODES:
        assert node(name, "stat -c '%s %U' /home/admin/copied/sub/data") == "10240000 admin"
    cli("cp", "-i", LAB, "--sudo", str(tree / "sub" / "data"), f"{NODES[1]}:/etc/mammoctl-test")
    assert node(NODES[1], "stat -c %U /etc/mammoctl-test") == "root"
    refused = cli("cp", "-i", LAB, str(tree / "sub" / "data"), f"{NODES[1]}:/etc/other", rc=1)
    assert "Permission denied" in refused.stderr
    cli("cp", "-i", LAB, "all:copied/sub/data", str(tmp_path / "back"))
    for name in NODES:
        back = (tmp_path / "back" / name / "data").read_bytes()
        assert back == (tree / "sub" / "data").read_bytes()
        node(name, "rm -rf /home/admin/copied /etc/mammoctl-test")


def test_logs_of_all_nodes_in_order(cli: Cli, provisioned: object) -> None:
    out = cli("logs", "-i", LAB, "--since", "-1h", "--json").stdout
    entries = [json.loads(line) for line in out.splitlines()]
    assert {entry["node"] for entry in entries} == set(NODES)
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    workers = cli("logs", "-i", LAB, NODES[2], "-u", "spark-worker", "-n", "5").stdout
    assert workers.count(f" {NODES[2]} spark-worker") == 5


@pytest.mark.timeout(300)
def test_logs_follow_over_a_broken_connection(cli: Cli, provisioned: object, node: Any) -> None:
    """Entries that are written while the connection is away come when it is back, each once."""
    process = cli.start("logs", "-i", LAB, "-f", "-n", "0", "-u", "mmtest.service", "--json")
    assert process.stdout is not None
    say = "systemd-run --quiet --wait --unit=mmtest sh -c 'echo $0; sleep 1' entry-"
    heard: list[str] = []
    try:
        time.sleep(5)
        node(NODES[1], f"{say}1")
        while "entry-1" not in heard:
            heard.append(json.loads(process.stdout.readline())["message"])
        node(NODES[1], f"pkill -x journalctl; {say}2")
        node(NODES[2], f"{say}3")
        while {"entry-2", "entry-3"} - set(heard):
            heard.append(json.loads(process.stdout.readline())["message"])
        assert [heard.count(f"entry-{number}") for number in (1, 2, 3)] == [1, 1, 1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
