"""What a node may be called: its name is the host of Spark's and HDFS's addresses."""

from __future__ import annotations

import ipaddress
import re

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
# Java's URI has no host for anything else (RFC 2396, 3.2.2): the last of several labels begins
# with a letter.
_NAME = re.compile(rf"{_LABEL}|(?:{_LABEL}\.)+(?=[A-Za-z]){_LABEL}")
_LONGEST = 253
_OF_EVERY_HOST = ("localhost", "ip6-localhost", "ip6-loopback")


def is_one(name: str) -> bool:
    """Tell whether a node may be called so: as a host of the Internet, or by its IPv4 address."""
    if name.lower() in _OF_EVERY_HOST:
        return False
    try:
        return ipaddress.ip_address(name).version == 4
    except ValueError:
        return len(name) <= _LONGEST and bool(_NAME.fullmatch(name))


def hint(name: str) -> str:
    """Return the mend for a name that cannot be one, with a name that can where there is one."""
    near = re.sub(r"-*\.[-.]*", ".", re.sub(r"[^A-Za-z0-9.-]+", "-", name)).strip("-.")
    if is_one(near) and ":" not in name:
        return f"rename it to {near}"
    return "rename it: letters, digits, - and ., such as node1, with its address in ansible_host"
