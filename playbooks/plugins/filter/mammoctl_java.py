# SPDX-License-Identifier: Apache-2.0
"""Where Debian and Ubuntu put a Java; releases bring different ones, so nodes may differ."""

from __future__ import annotations

import re

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def java_home(package, arch):
    """Return the folder of the Java of a Debian package.

    Args:
        package: such as ``openjdk-21-jdk-headless``.
        arch: the processor as the kernel calls it, ``x86_64`` or ``aarch64``.

    Raises:
        ValueError: no such folder is known; ``java_home`` must be set beside ``java_package``.
    """
    found = re.match(r"openjdk-([0-9]+)-", package)
    if not found or arch not in ARCHITECTURES:
        raise ValueError("the folder of %s on %s is not known: set java_home beside java_package" % (package, arch))
    return "/usr/lib/jvm/java-%s-openjdk-%s" % (found[1], ARCHITECTURES[arch])


def java_homes(hostvars, nodes, releases):
    """Return name -> the folder of that node's Java, as role java decides it on the node.

    Args:
        hostvars: name -> variables; read are ``mammoctl_release``, the facts, and ``java_package`` and
            ``java_home`` where the inventory sets them.
        nodes: names of the cluster's hosts.
        releases: release -> what it brings, with its ``java`` package.
    """
    homes = {}
    for name in nodes:
        node = hostvars[name]
        package = node.get("java_package") or releases[node["mammoctl_release"]]["java"]
        arch = node["ansible_facts"]["mammoctl"]["arch"]
        homes[name] = node.get("java_home") or java_home(package, arch)
    return homes


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_java_home": java_home, "mammoctl_java_homes": java_homes}
