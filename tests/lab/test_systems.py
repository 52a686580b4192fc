"""Every supported system as the nodes, alone and mixed: provisioned, verified, trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mammoctl.ansible import control
from mammoctl.errors import LabError
from mammoctl.lab import image

from .command import Cli

pytestmark = [pytest.mark.lab, pytest.mark.slow]

UNREACHABLE = re.compile(
    r"Failed to fetch|Could not (resolve|connect)|Unable to connect|Cannot initiate"
)


@dataclass
class Cluster:
    """A lab of three nodes of the given systems, reached by commands as a user would."""

    cli: Cli
    name: str

    def on(self, node: int, command: str, *, rc: int | None = 0) -> str:
        """Run a command on a node (counted from 1) as root."""
        argv = ("lab", "exec", "--name", self.name, f"{self.name}{node}", "--")
        return self.cli(*argv, f"sudo sh -c {_quote(command)}", rc=rc).stdout.strip()

    def provision(self, *options: str) -> Any:
        return self.cli("provision", "-i", self.name, "--json", *options, timeout=1500).json()

    def prove(self, synthetic: Path, *options: str) -> None:
        """Provision, verify, train, and provision again without a change."""
        first = self.provision(*options)
        assert all(h["failed"] == h["unreachable"] == 0 for h in first["hosts"].values())
        verified = self.cli("verify", "-i", self.name, "--json", timeout=600).json()
        assert verified["failed"] == 0
        self.cli("data", "push", str(synthetic), "--name", "small", "-i", self.name, timeout=300)
        fast = ("--backbone", "mobilenet_v2_035", "--weights", "none", "--epochs", "2")
        self.cli("submit", "-i", self.name, "--data", "small", *fast, timeout=900)
        assert self.provision(*options)["changed"] == []

    def java_of_worker(self, node: int) -> str:
        """Return the program that the node's Spark worker runs in."""
        return self.on(
            node, "readlink -f /proc/$(systemctl show -p MainPID --value spark-worker)/exe"
        )


def _quote(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"


@contextmanager
def lab(cli: Cli, name: str, subnet: str, images: str) -> Iterator[Cluster]:
    cli("lab", "down", "--name", name)
    options = ("--subnet", subnet, "--nodes", "3", "--image", images)
    try:
        cli("lab", "up", "--name", name, *options, timeout=1200)
        yield Cluster(cli, name)
    finally:
        cli("lab", "down", "--name", name)


@pytest.fixture(scope="module")
def trixie(cli: Cli) -> Iterator[Cluster]:
    with lab(cli, "mmtrixie", "10.213.8.0/24", "debian13") as cluster:
        yield cluster


def test_unsupported_release_is_refused_before_anything_changes(trixie: Cluster) -> None:
    keep = "mv /etc/os-release /etc/os-release.kept"
    trixie.on(
        2, f"{keep}; echo 'ID=fedora\nVERSION_ID=43\nPRETTY_NAME=\"Fedora 43\"' > /etc/os-release"
    )
    try:
        done = trixie.cli("provision", "-i", trixie.name, rc=1)
        assert f"{trixie.name}2: unsupported system: Fedora 43" in done.stderr
        assert "supported: debian12, debian13, ubuntu22.04" in done.stderr
        assert "nothing has been changed" in done.stderr
    finally:
        trixie.on(2, "mv /etc/os-release.kept /etc/os-release")
    for node in (1, 2, 3):
        assert trixie.on(node, "ls -d /opt/mammoctl /etc/mammoctl /var/lib/mammoctl", rc=2) == ""


def test_debian_13(trixie: Cluster, synthetic: Path) -> None:
    untouched = (
        "cat /etc/default/locale /etc/locale.* /etc/fstab /proc/swaps /etc/security/limits.conf; "
        "locale; ulimit -a"
    )
    before = trixie.on(2, f"({untouched}) 2>&1")
    trixie.prove(synthetic)
    assert trixie.on(2, f"({untouched}) 2>&1") == before
    record = trixie.on(1, "cat /etc/mammoctl/cluster.json")
    assert '"python_version": "3.13"' in record
    assert "java-21-openjdk" in trixie.java_of_worker(2)


def test_sudo_rs(trixie: Cluster) -> None:
    """Ubuntu 25.10 and later have sudo-rs as sudo; Debian 13 has it as a package."""
    for node in (1, 2, 3):
        trixie.on(
            node, "apt-get -q update && apt-get -q -y install --no-install-recommends sudo-rs"
        )
        trixie.on(node, "ln -s $(command -v sudo-rs) /usr/local/bin/sudo")
        assert "sudo-rs" in trixie.on(
            node, "su admin -c 'PATH=/usr/local/bin:$PATH sudo --version' 2>&1"
        )
    try:
        assert trixie.provision()["changed"] == []
        trixie.cli("verify", "-i", trixie.name, timeout=600)
    finally:
        for node in (1, 2, 3):
            trixie.on(node, "rm /usr/local/bin/sudo")


def test_debian_12_and_13_in_one_cluster(cli: Cli, archive: Path, synthetic: Path) -> None:
    """Two Pythons and two Javas: a managed Python for all, and each node's own Java."""
    with lab(cli, "mmmixed", "10.213.9.0/24", "debian12,debian13,debian13") as cluster:
        own = ("-e", f"python_archive={archive}")
        refused = cli("provision", "-i", cluster.name, "-e", "python_runtime=system", rc=1)
        assert (
            "the hosts differ in Python (3.11 on mmmixed1; 3.13 on mmmixed2, mmmixed3)"
            in refused.stderr
        )
        predicted = cluster.provision("--check", "--diff", *own)
        assert "Unpack the managed interpreter" in str(predicted["changed"])
        cluster.prove(synthetic, *own)
        homes = [cluster.on(node, "readlink -f /opt/mammoctl/env/bin/python") for node in (1, 2, 3)]
        assert len(set(homes)) == 1
        assert re.fullmatch(r"/opt/mammoctl/python/[0-9a-f]{16}/bin/python3\.1\d", homes[0])
        javas = [cluster.java_of_worker(node) for node in (1, 2, 3)]
        assert ["java-17" in java for java in javas] == [True, False, False]
        assert ["java-21" in java for java in javas] == [False, True, True]


@pytest.fixture(scope="module")
def ubuntu() -> None:
    """Build an image of Ubuntu; skip where mmdebstrap does not reach its mirror."""
    try:
        image.ensure(image.IMAGES["ubuntu24.04"])
    except LabError as exc:
        said = "\n".join([exc.message, *exc.details])
        if not UNREACHABLE.search(said):
            raise
        pytest.skip(f"no mirror of Ubuntu is reachable from here: {said}")


def test_ubuntu_24_04(cli: Cli, ubuntu: None, synthetic: Path) -> None:
    with lab(cli, "mmnoble", "10.213.10.0/24", "ubuntu24.04") as cluster:
        cluster.prove(synthetic)
        python = cluster.on(1, "readlink -f /opt/mammoctl/env/bin/python")
        assert python == "/usr/bin/python3.12"


def test_ubuntu_22_04_beside_24_04(cli: Cli, ubuntu: None, archive: Path, synthetic: Path) -> None:
    """22.04 has Python 3.10, which will not do: all get the managed one."""
    with lab(cli, "mmjammy", "10.213.11.0/24", "ubuntu22.04,ubuntu22.04,ubuntu24.04") as cluster:
        cluster.prove(synthetic, "-e", f"python_archive={archive}")
        assert "java-17" in cluster.java_of_worker(1)
        assert "java-21" in cluster.java_of_worker(3)


def test_ubuntu_26_04(cli: Cli, ubuntu: None, archive: Path, synthetic: Path) -> None:
    """Its own Python is 3.14 and its sudo is sudo-rs; Ansible 2.19 cannot manage it."""
    with lab(cli, "mmresolute", "10.213.12.0/24", "ubuntu26.04") as cluster:
        assert "sudo-rs" in cluster.on(1, "sudo --version")
        if why := control.too_new("3.14"):
            refused = cli("provision", "-i", cluster.name, rc=1)
            assert all(f"mmresolute{node}: {why}" in refused.stderr for node in (1, 2, 3))
            return
        cluster.prove(synthetic, "-e", f"python_archive={archive}")
