# SPDX-License-Identifier: Apache-2.0
"""Judges addresses, networks and ports of an inventory."""

from __future__ import annotations

import ipaddress
import re


def is_network(text):
    """Tell whether it is an address, or a network such as 192.0.2.0/24."""
    try:
        ipaddress.ip_network(str(text), strict=False)
    except ValueError:
        return False
    return True


def no_list(values, name):
    """Return what is wrong with the setting ``name``, if it is no list; nothing at all counts as an empty one."""
    return [] if values is None or isinstance(values, (list, tuple)) else [f"{name} is {values!s}, not a list"]


def line_mistakes(values, name):
    """Return what is wrong with a list of lines, the setting ``name``."""
    return no_list(values, name) or [
        f"{name} has {value!s}, no line"
        for value in values or []
        if not isinstance(value, str) or "\n" in value.strip()
    ]


def network_mistakes(values, name):
    """Return what is wrong with a list of addresses and networks, the setting ``name``."""
    if wrong := no_list(values, name):
        return wrong
    return [f"{name} has {value!s}, no address or network" for value in values or [] if not is_network(value)]


def port_mistakes(entries):
    """Return what is wrong with ``lockdown_ports``."""
    found = no_list(entries, "lockdown_ports")
    for entry in [] if found else entries or []:
        if not isinstance(entry, dict) or not set(entry) <= {"port", "protocol", "from"}:
            found.append(f"lockdown_ports has {entry!s}: each has port, and may have protocol and from")
            continue
        first, dash, last = str(entry.get("port", "")).partition("-")
        numbers = [int(part) if re.fullmatch(r"\d{1,5}", part) else 0 for part in (first, last if dash else first)]
        if not 1 <= numbers[0] <= numbers[1] <= 65535:
            found.append(f"lockdown_ports has the port {entry.get('port', '(none)')!s}")
        if (entry.get("protocol") or "tcp") not in ("tcp", "udp"):
            found.append(f"lockdown_ports has the protocol {entry['protocol']!s}, not tcp or udp")
        found += network_mistakes(entry.get("from"), "from in lockdown_ports")
    return found


def outside(addresses, networks):
    """Return 'NAME (ADDRESS)' for each address that is in none of the networks; loopback always is.

    Args:
        addresses: name -> address; an empty one is nobody's.
        networks: addresses and networks.
    """
    known = [ipaddress.ip_network(str(one), strict=False) for one in networks if is_network(one)]

    def is_in(address):
        return address.is_loopback or any(address in one for one in known if one.version == address.version)

    return [
        f"{name} ({address})"
        for name, address in addresses.items()
        if address and not is_in(ipaddress.ip_address(address))
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return name -> function."""
        return {
            "mammoctl_line_mistakes": line_mistakes,
            "mammoctl_network_mistakes": network_mistakes,
            "mammoctl_port_mistakes": port_mistakes,
            "mammoctl_outside": outside,
        }
