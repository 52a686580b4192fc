"""Run on a node, as root, by its own Python: prints what its WireGuard interface says, as JSON.

Nothing beyond the standard library, and nothing that Python 3.10 lacks: the text of this file is
what the node is given. The argument is the interface. A handshake is due only when there is
something to say, so one byte goes to each peer first (UDP port 9, which discards it).
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time

FRESH_S = 180
"""A handshake that is older is void: WireGuard makes a new one every two minutes of traffic."""

WAIT_S = 12.0
"""Seconds until a handshake must be there; WireGuard tries again after five."""


def output(*argv: str) -> str:
    """Return what a program prints; '' when it fails or is missing."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def ages(handshakes: str, allowed: str, now: float) -> dict[str, float | None]:
    """Return address -> seconds since the last handshake, None for never (pure).

    Args:
        handshakes: what ``wg show INTERFACE latest-handshakes`` prints.
        allowed: what ``wg show INTERFACE allowed-ips`` prints.
        now: seconds since the epoch.
    """
    last = dict(line.split("\t") for line in handshakes.splitlines())
    found: dict[str, float | None] = {}
    for line in allowed.splitlines():
        key, _tab, networks = line.partition("\t")
        at = int(last.get(key, "0"))
        for network in networks.split():
            found[network.removesuffix("/32")] = round(max(0.0, now - at), 1) if at else None
    return found


def peers(interface: str) -> dict[str, float | None]:
    """Return `ages` of an interface as they are now."""
    told = [output("wg", "show", interface, what) for what in ("latest-handshakes", "allowed-ips")]
    return ages(told[0], told[1], time.time())


def main() -> None:
    """Print the interface's addresses and its peers."""
    interface = sys.argv[1]
    lines = output("ip", "-oneline", "-4", "address", "show", "dev", interface).splitlines()
    addresses = [line.split()[3].partition("/")[0] for line in lines]
    found = peers(interface)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to:
        for address in found:
            try:
                to.sendto(b"?", (address, 9))
            except OSError:
                continue
    end = time.monotonic() + WAIT_S
    while any(age is None or age > FRESH_S for age in found.values()) and time.monotonic() < end:
        time.sleep(0.5)
        found = peers(interface)
    print(json.dumps({"addresses": addresses, "peers": found}))


if __name__ == "__main__":
    main()
