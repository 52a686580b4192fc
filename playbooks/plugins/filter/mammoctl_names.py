# SPDX-License-Identifier: Apache-2.0
"""What a host is called by the others (/etc/hosts): two with one name, or all with it, lead astray."""

from __future__ import annotations


def names(inventory_name, hostname):
    """Return every name of a host, in small letters: the inventory's, its own, and its own up to the first point."""
    return {inventory_name.lower(), hostname.lower(), hostname.partition(".")[0].lower()}


def namesakes(hostvars, nodes, node):
    """Return 'NAME (OTHER)' for each name of ``node`` that leads to another host as well.

    Args:
        hostvars: name -> variables; hosts that nobody has looked at yet are passed over.
        nodes: the cluster's hosts, by their inventory names.
        node: the one that is meant.
    """
    known = {}
    for name in nodes:
        facts = hostvars[name].get("ansible_facts", {}).get("mammoctl", {})
        known[name] = names(name, facts["hostname"]) if "hostname" in facts else set()
    shared = [(name, other) for other in nodes if other != node for name in sorted(known[node] & known[other])]
    return [f"{name} ({other})" for name, other in shared if not is_everybodys(name)]


def is_everybodys(name):
    """Tell whether a name is that of every host for itself."""
    return name.partition(".")[0].lower() in ("localhost", "ip6-localhost", "ip6-loopback")


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_namesakes": namesakes, "mammoctl_is_everybodys_name": is_everybodys}
