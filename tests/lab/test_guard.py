"""The ports of the cluster's services answer its nodes and nobody else."""

from __future__ import annotations

import ipaddress
import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, SUBNET, Provisioning
from .outsider import Outsider, outsider

pytestmark = pytest.mark.lab


@pytest.fixture
def stranger(provisioned: Provisioning, cli: Cli) -> Iterator[Outsider]:
    """Return a machine on the lab's bridge that is not in the inventory."""
    bridge = cli("lab", "status", "--name", LAB, "--json").json()["bridge"]
    with outsider(bridge, f"{ipaddress.ip_network(SUBNET)[200]}/24") as there:
        yield there


def listening(node: Any, name: str) -> set[int]:
    """Return the TCP ports that listen on ``name`` beyond its loopback."""
    lines = node(name, "cat /proc/net/tcp /proc/net/tcp6").splitlines()
    ports = set()
    for line in lines:
        fields = line.split()
        if len(fields) > 3 and fields[3] == "0A":
            address, port = fields[1].rsplit(":", 1)
            if not address.endswith("0100007F") and address != "0" * 24 + "01000000":
                ports.add(int(port, 16))
    return ports


def test_an_outsider_reaches_ssh_and_nothing_else(node: Any, stranger: Outsider) -> None:
    for name in NODES:
        ports = listening(node, name)
        assert 22 in ports
        assert len(ports) > 3, f"{name}: services should listen, only {ports} do"
        address = node(name, "hostname -I").split()[0]
        assert stranger.reaches(address, ports) == {22}, name


ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("", 5999))
    s.settimeout(30)
    s.sendto(*s.recvfrom(64))
"""
ASK = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(1)
    for _ in range(20):
        s.sendto(b"hello", (sys.argv[1], 5999))
        try:
            print(s.recv(64).decode())
            break
        except OSError:
            time.sleep(0.5)
"""


def test_what_is_not_of_the_cluster_passes(node: Any, stranger: Outsider) -> None:
    """Answers of name and time servers are UDP from outside: the guard must not know them."""
    name = NODES[1]
    address = node(name, "hostname -I").split()[0]
    node(name, f"systemd-run --quiet --collect python3 -c {shlex.quote(ECHO)}")
    argv = ["ip", "netns", "exec", stranger.name, "python3", "-c", ASK, address]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "hello"


def test_a_node_of_the_cluster_reaches_the_services(provisioned: Provisioning, node: Any) -> None:
    for port in (7077, 8080, 8020):
        node(
            NODES[2],
            f"python3 -c 'import socket; socket.create_connection((\"mmtest1\", {port}), 3)'",
        )


def test_the_table_touches_nobody_elses_rules(provisioned: Provisioning, node: Any) -> None:
    worker = NODES[1]
    node(worker, "nft add table inet foreign && nft add chain inet foreign keep")
    node(worker, "systemctl restart mammoctl-guard.service")
    tables = json.loads(node(worker, "nft -j list tables"))["nftables"]
    names = {t["table"]["name"] for t in tables if "table" in t}
    assert names == {"foreign", "mammoctl"}
    node(worker, "nft delete table inet foreign")
