"""``mammoctl verify`` tells the truth: about a good cluster, a broken one and one out of reach."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, Provisioning, wait_until

pytestmark = pytest.mark.lab


def test_a_provisioned_cluster_passes(provisioned: Provisioning, cli: Cli, tmp_path: Path) -> None:
    report = tmp_path / "verify.xml"
    result = cli("verify", "-i", LAB, "--json", "--junit", str(report)).json()
    assert result["failed"] == 0
    assert result["passed"] > 30
    suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    assert int(suite.get("tests", 0)) >= result["passed"]


def test_a_stopped_worker_is_found_with_its_mend(
    provisioned: Provisioning, cli: Cli, node: Any
) -> None:
    node(NODES[1], "systemctl stop spark-worker.service")
    try:
        done = cli("verify", "-i", LAB, rc=1)
        assert f"spark on {NODES[1]} failed" in done.text
        mends = [line for line in done.text.splitlines() if "mend:" in line]
        assert any(f"on {NODES[1]}: sudo systemctl restart spark-worker" in m for m in mends), mends
    finally:
        node(NODES[1], "systemctl start spark-worker.service")

    def healthy() -> bool:
        """status is content again."""
        return bool(cli("status", "-i", LAB, "--json", rc=None).json()["ok"])

    wait_until(healthy, seconds=180, every=2)


def test_what_cannot_be_reached_cannot_be_checked(
    provisioned: Provisioning, cli: Cli, tmp_path: Path, inventory: Path
) -> None:
    copy = tmp_path / "inventory" / "away"
    shutil.copytree(inventory, copy)
    hosts = (copy / "hosts.yml").read_text()
    address = next(line.split()[-1] for line in hosts.splitlines() if "ansible_host" in line)
    (copy / "hosts.yml").write_text(hosts.replace(address, "10.213.7.250"))
    done = cli("verify", "-i", str(copy), rc=2, timeout=120)
    assert "10.213.7.250" in done.text or NODES[0] in done.text
    assert "hint:" in done.stderr
