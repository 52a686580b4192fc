"""The ports of the cluster's services answer its nodes and nobody else."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, SUBNET, Provisioning
from .outsider import EVERY_PORT, PROBE, Outsider, outsider

ROOT = Path(__file__).resolve().parents[2]
STRANGER = ipaddress.ip_network(SUBNET)[200]

pytestmark = pytest.mark.lab


@pytest.fixture
def stranger(provisioned: Provisioning, cli: Cli) -> Iterator[Outsider]:
    """Return a machine on the lab's bridge that is not in the inventory."""
    bridge = cli("lab", "status", "--name", LAB, "--json").json()["bridge"]
    with outsider(bridge, f"{STRANGER}/24") as there:
        yield there


@pytest.fixture(scope="module")
def declared() -> dict[str, set[str]]:
    """Return node's duty -> ports of docs/security.md, each alone or FIRST-LAST."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for port, duty in re.findall(
        r"^\| ([0-9-]+) \|[^|]+\| (master|workers) \|", text, re.MULTILINE
    ):
        found.setdefault(duty, set()).add(port)
    return found


@pytest.fixture(scope="module")
def addresses(provisioned: Provisioning, node: Any) -> dict[str, str]:
    return {name: node(name, "hostname -I").split()[0] for name in NODES}


@pytest.fixture
def kernel_log() -> Iterator[Callable[[], str]]:
    """Let the kernel log what containers refuse, too; return a function that tells what it said."""
    switch, mark = Path("/proc/sys/net/netfilter/nf_log_all_netns"), f"mmtest {uuid.uuid4()}"
    before = switch.read_text()
    Path("/dev/kmsg").write_text(mark)
    switch.write_text("1")
    try:
        yield lambda: subprocess.check_output(["dmesg"], text=True).rpartition(mark)[2]
    finally:
        switch.write_text(before)


def test_an_outsider_reaches_ssh_and_nothing_else(
    addresses: dict[str, str], stranger: Outsider, kernel_log: Callable[[], str]
) -> None:
    for name, address in addresses.items():
        # A worker of somebody's, a reader of blocks.
        asked = (7077, 9866) if name == NODES[0] else (9866,)
        assert stranger.reaches(address, asked) == set()
        for port in asked:
            line = rf"mammoctl-guard .*SRC={STRANGER} DST={address} .*DPT={port} "
            assert re.search(line, kernel_log()), (name, port)
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda address: stranger.reaches(address, EVERY_PORT), addresses.values())
    assert dict(zip(addresses, found, strict=True)) == {name: {22} for name in NODES}


def test_a_node_reaches_what_is_declared_and_nothing_else(
    addresses: dict[str, str], node: Any, declared: dict[str, set[str]]
) -> None:
    duties = {NODES[0]: ("master", "workers"), NODES[1]: ("workers",)}
    ports = {name: set().union(*map(declared.get, of_it)) for name, of_it in duties.items()}

    def scan(name: str) -> set[int]:
        line = f"python3 -c {shlex.quote(PROBE)} {addresses[name]} {EVERY_PORT}"
        return set(json.loads(node(NODES[2], line)))

    with ThreadPoolExecutor() as pool:
        found = dict(zip(duties, pool.map(scan, duties), strict=True))
    # The ranges are those of jobs, of which none runs.
    services = {name: {int(port) for port in ports[name] if "-" not in port} for name in duties}
    assert found == {name: services[name] | {22} for name in duties}


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


def test_what_is_not_of_the_cluster_passes(
    addresses: dict[str, str], node: Any, stranger: Outsider
) -> None:
    """Answers of name and time servers are UDP from outside: the guard must not know them."""
    name = NODES[1]
    node(name, f"systemd-run --quiet --collect python3 -c {shlex.quote(ECHO)}")
    argv = ["ip", "netns", "exec", stranger.name, "python3", "-c", ASK, addresses[name]]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "hello"


def test_the_table_touches_nobody_elses_rules(provisioned: Provisioning, node: Any) -> None:
    worker = NODES[1]
    node(worker, "nft add table inet foreign && nft add chain inet foreign keep")
    node(worker, "systemctl restart mammoctl-guard.service")
    tables = json.loads(node(worker, "nft -j list tables"))["nftables"]
    names = {t["table"]["name"] for t in tables if "table" in t}
    assert names == {"foreign", "mammoctl"}
    node(worker, "nft delete table inet foreign")
