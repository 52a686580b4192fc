"""A machine on the lab's bridge that is in no inventory: a network namespace with an address."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Prints the ports that take a connection.
_PROBE = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def answers(port):
    with socket.socket() as s:
        s.settimeout(0.7)
        return s.connect_ex((sys.argv[1], port)) == 0
ports = [int(p) for p in sys.argv[2].split(",")]
with ThreadPoolExecutor(64) as pool:
    print(*[p for p, ok in zip(ports, pool.map(answers, ports)) if ok])
"""


@dataclass(frozen=True)
class Outsider:
    """The namespace by its name."""

    name: str

    def reaches(self, address: str, ports: Iterable[int]) -> set[int]:
        """Return which TCP ports of an address take a connection from here."""
        wanted = ",".join(map(str, ports))
        argv = ["ip", "netns", "exec", self.name, sys.executable, "-c", _PROBE, address, wanted]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
        return {int(port) for port in done.stdout.split()}


@contextmanager
def outsider(bridge: str, address: str, name: str = "mmoutsider") -> Iterator[Outsider]:
    """Put a namespace on a bridge.

    Args:
        bridge: the lab's.
        address: one that no node has, with its prefix length.
        name: of the namespace, and of its cable.
    """

    def ip(*args: str) -> None:
        subprocess.run(["ip", *args], check=True)

    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", name, "master", bridge, "up")
        ip("-n", name, "address", "add", address, "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        yield Outsider(name)
    finally:
        ip("netns", "delete", name)
