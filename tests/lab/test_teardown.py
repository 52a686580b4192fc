"""Provisioned and torn down, a node is what it was before."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .own_lab import Ward

pytestmark = [pytest.mark.lab, pytest.mark.slow]


# What programs of the system keep of the state before: copies, and caches that they make again.
LEFT = re.compile(
    r"/etc/(passwd|group|shadow|gshadow)-"  # useradd's and userdel's copies
    r"|/var/lib/dpkg/(status|diversions|statoverride)-old"
    r"|/var/cache/debconf/(config|templates|passwords)\.dat-old"
    r"|/var/lib/ucf/(hashfile|registry)\.\d"
    r"|/var/cache/ldconfig/aux-cache"
)

INVENTORY = r"""
import grp, hashlib, json, os, pwd, stat, subprocess
SKIP = {"/proc", "/sys", "/run", "/tmp", "/var/tmp", "/dev", "/var/log", "/var/cache/apt",
        "/var/lib/apt/lists"}

def describe(path):
    found = os.lstat(path)
    words = [oct(found.st_mode), found.st_uid, found.st_gid]
    if stat.S_ISREG(found.st_mode):
        with open(path, "rb") as stream:
            words.append(hashlib.sha256(stream.read()).hexdigest())
    elif stat.S_ISLNK(found.st_mode):
        words.append(os.readlink(path))
    return words

def say(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

files = {}
for root, folders, names in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(root, name) not in SKIP]
    for name in folders + names:
        try:
            files[os.path.join(root, name)] = describe(os.path.join(root, name))
        except FileNotFoundError:
            pass
units = [line for line in say("systemctl", "list-unit-files", "--no-legend", "--plain")
         if ".scope" not in line]
print(json.dumps({
    "files": files,
    "users": {user.pw_name: list(user) for user in pwd.getpwall()},
    "groups": {group.gr_name: list(group) for group in grp.getgrall()},
    "units": {line.split()[0]: line.split()[1] for line in units},
    "packages": {line.split()[0]: line.split()[1:] for line in say(
        "dpkg-query", "-W", "-f", "${binary:Package} ${Version} ${db:Status-Abbrev}\n")},
    "marked": {line: True for line in say("apt-mark", "showmanual")},
    "alternatives": {line.split()[0]: line.split()[1:] for line in
                     say("update-alternatives", "--get-selections")},
}))
"""


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return what is not as it was, but for what programs of the system keep for themselves."""
    return [
        f"{kind} {name}: {before[kind].get(name)} -> {after[kind].get(name)}"
        for kind in before
        for name in sorted({*before[kind], *after[kind]})
        if before[kind].get(name) != after[kind].get(name)
        and not (kind == "files" and LEFT.fullmatch(name))
    ]


def test_a_node_is_what_it_was_and_data_stays_unless_told_otherwise(ward: Ward) -> None:
    lab = ward.back_to("bare")
    before = {node: lab.json_on(node, INVENTORY) for node in lab.nodes}
    master = lab.nodes[0]
    ward.back_to("provisioned")
    assert differences(before[master], lab.json_on(master, INVENTORY)), "nothing was provisioned"
    lab.on(master, "echo kept | /opt/mammoctl/bin/hdfs dfs -put - /tmp/kept")
    # A package that came with mammoctl, and that somebody has come to need since.
    lab.on(master, _needing("nftables"))

    listed = lab.run("teardown", "--check", "--json").json()
    assert listed["check"]
    assert listed["recorded"]["before"] == listed["recorded"]["after"]
    assert all(stats["changed"] == 2 for stats in listed["hosts"].values())
    refused = lab.run("teardown", rc=2)
    assert "--yes" in refused.stderr

    lab.run("teardown", "--yes")
    assert lab.on(master, "ls -d /opt/mammoctl /opt/spark /etc/spark 2>/dev/null", rc=None) == ""
    assert "fsimage" in lab.on(master, "ls /var/lib/hdfs/name/current")
    assert lab.on(master, "dpkg-query -W -f '${db:Status-Abbrev}' nftables").strip() == "ii"
    lab.on(master, "dpkg --purge needing")

    lab.run("provision")
    assert lab.on(master, "/opt/mammoctl/bin/hdfs dfs -cat /tmp/kept") == "kept"

    removed = lab.run("teardown", "--data", "--yes", "--json").json()
    assert not any(made for host in removed["recorded"]["after"].values() for made in host.values())
    found = {node: differences(before[node], lab.json_on(node, INVENTORY)) for node in lab.nodes}
    assert found == {node: [] for node in lab.nodes}
    assert lab.run("teardown", "--data", "--yes", "--json").json()["changed"] == []


def _needing(package: str) -> str:
    """Return a command that installs an empty package ``needing`` which depends on ``package``."""
    control = "\\n".join(
        [
            "Package: needing", "Version: 1", "Architecture: all", "Maintainer: nobody",
            f"Depends: {package}", "Description: depends on another package", "",
        ]
    )  # fmt: skip
    return (
        f"cd $(mktemp -d) && mkdir -p p/DEBIAN && printf '{control}' > p/DEBIAN/control"
        " && dpkg-deb --build p needing.deb && dpkg --install needing.deb"
    )
