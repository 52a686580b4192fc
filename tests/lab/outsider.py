"""A machine on the lab's bridge that is in no inventory: a network namespace with an address."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PROBE = """
import errno, json, resource, socket, sys, time
address, wanted = sys.argv[1:]
ports = []
for part in wanted.split(","):
    first, _, last = part.partition("-")
    ports += range(int(first), int(last or first) + 1)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
size, found = min(20000, hard - 100), []
for start in range(0, len(ports), size):
    asked = [(port, socket.socket()) for port in ports[start : start + size]]
    for port, one in asked:
        one.setblocking(False)
        one.connect_ex((address, port))
    time.sleep(1.5)
    for port, one in asked:
        if one.connect_ex((address, port)) in (0, errno.EISCONN):
            found.append(port)
        one.close()
print(json.dumps(sorted(found)))
"""
"""Prints which TCP ports (``22,80-90``) of an address take a connection; 1.5 s for silent ones."""

EVERY_PORT = "1-65535"


@dataclass(frozen=True)
class Outsider:
    """The namespace by its name."""

    name: str

    def reaches(self, address: str, ports: Iterable[int] | str) -> set[int]:
        """Return which TCP ports of an address take a connection from here."""
        wanted = ports if isinstance(ports, str) else ",".join(map(str, ports))
        argv = ["ip", "netns", "exec", self.name, sys.executable, "-c", PROBE, address, wanted]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
        return set(json.loads(done.stdout))


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
