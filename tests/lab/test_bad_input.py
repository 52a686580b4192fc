"""What a user can get wrong: one clear message, a hint, the right exit code, and nothing broken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, Provisioning

pytestmark = pytest.mark.lab


@pytest.fixture
def elsewhere(inventory: Path, tmp_path: Path) -> Path:
    """Return a copy of the lab's inventory to spoil."""
    copy = tmp_path / "inventory" / "spoilt"
    shutil.copytree(inventory, copy)
    return copy


def said(text: str, *words: str) -> None:
    missing = [word for word in words if word.lower() not in text.lower()]
    assert not missing, f"{missing} not in: {text}"


def test_unknown_inventory(cli: Cli, lab: str) -> None:
    done = cli("provision", "-i", "nowhere", rc=2)
    said(done.stderr, "nowhere", LAB, "hint:")


def test_host_unreachable(cli: Cli, elsewhere: Path) -> None:
    hosts = elsewhere / "hosts.yml"
    hosts.write_text(hosts.read_text().replace(".12", ".251"))
    done = cli("provision", "-i", str(elsewhere), rc=1, timeout=120)
    said(done.stderr, "10.213.7.251", "hint:")


def test_wrong_key(cli: Cli, elsewhere: Path) -> None:
    key = elsewhere / "id_ed25519"
    key.unlink()
    Path(f"{key}.pub").unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    done = cli("provision", "-i", str(elsewhere), rc=1)
    said(done.stderr, *NODES, "key", "hint:")


def test_host_key_changed(cli: Cli, elsewhere: Path) -> None:
    known = elsewhere / "known_hosts"
    lines = known.read_text().splitlines()
    first, second = lines[0].split(), lines[1].split()
    other = next(
        line.split()
        for line in lines
        if line.split()[0] != first[0] and line.split()[1] == first[1]
    )
    del second
    swapped = [" ".join([first[0], *other[1:]]) if line == lines[0] else line for line in lines]
    kept = [line for line in swapped if line.split()[0] != first[0] or line == swapped[0]]
    known.write_text("\n".join(kept) + "\n")
    done = cli("provision", "-i", str(elsewhere), rc=1)
    said(done.stderr, "host key", "hint:")


def test_subnet_in_use(cli: Cli, lab: str) -> None:
    done = cli("lab", "up", "--name", "mmother", "--subnet", "10.213.7.0/25", rc=None)
    assert done.rc in (1, 2)
    said(done.stderr, "10.213.7.0", "in use", "hint:")
    assert (
        "mmother"
        not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    )


def test_not_provisioned(cli: Cli, elsewhere: Path, provisioned: Provisioning, node: Any) -> None:
    node(NODES[0], "mv /etc/mammoctl/cluster.json /etc/mammoctl/cluster.json.away")
    try:
        said(cli("submit", "-i", LAB, "--data", "x", rc=125).stderr, "mammoctl provision", "hint:")
        said(cli("verify", "-i", LAB, rc=2).stderr, "mammoctl provision", "hint:")
    finally:
        node(NODES[0], "mv /etc/mammoctl/cluster.json.away /etc/mammoctl/cluster.json")
