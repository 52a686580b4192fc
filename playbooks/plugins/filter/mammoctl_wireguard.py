# SPDX-License-Identifier: Apache-2.0
"""Which WireGuard address a node has, and what speaks against a subnet for them."""

from __future__ import annotations

import ipaddress


def address(outer, subnet):
    """Return the WireGuard address of a node: the subnet's first bits, the last ones of its own address.

    So it depends on the node alone: one that joins or leaves renumbers nobody, and whoever reads an address knows
    whose it is. Two nodes may fall together; preflight tells.

    Args:
        outer: the node's address on the hosts' network, IPv4 or IPv6.
        subnet: the IPv4 network of the WireGuard addresses, such as ``10.119.0.0/16``.

    Returns:
        The address, or "" where one of the two is none.
    """
    try:
        network = ipaddress.IPv4Network(subnet)
        own = int(ipaddress.ip_address(outer))
    except ValueError:
        return ""
    return str(network[own & int(network.hostmask)])


def fits(inner, subnet):
    """Tell whether ``inner`` can be a node's address in ``subnet``: neither its first nor its last."""
    try:
        network, own = ipaddress.IPv4Network(subnet), ipaddress.IPv4Address(inner)
    except ValueError:
        return False
    return own in network and own not in (network[0], network[-1])


def is_subnet(subnet):
    """Tell whether it is a private IPv4 network with room for a few nodes."""
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError:
        return False
    special = network.is_multicast or network.is_loopback or network.is_link_local or network.is_reserved
    return not network.is_global and not special and network.prefixlen <= 29


def overlapping(routes, subnet, interface):
    """Return in words the routes of a host that lead into ``subnet`` by another way than ``interface``.

    An address of the host itself is one of them.

    Args:
        routes: what ``ip -json -4 route show table all`` says.
        subnet: the network.
        interface: the one that will have it.
    """
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError:
        return []
    found = []
    for route in routes:
        kind = route.get("type", "unicast")
        if route.get("dev") == interface or route["dst"] == "default" or kind not in ("unicast", "local"):
            continue
        if network.overlaps(ipaddress.IPv4Network(route["dst"], strict=False)):
            found.append("%s by %s" % (route["dst"], route.get("dev") or route.get("gateway") or "?"))
    return sorted(set(found))


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return name -> function."""
        return {
            "mammoctl_wireguard_address": address,
            "mammoctl_wireguard_fits": fits,
            "mammoctl_wireguard_is_subnet": is_subnet,
            "mammoctl_wireguard_overlapping": overlapping,
        }
