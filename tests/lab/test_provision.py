"""Bare machines to a cluster: predicted, done, done again, and done by plain Ansible."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, REPO, Provisioning, wait_until

pytestmark = pytest.mark.lab


def changed(run: Any) -> dict[str, int]:
    return {host: stats["changed"] for host, stats in run.json()["hosts"].items()}


def test_check_mode_on_bare_nodes_predicts_changes(provisioned: Provisioning) -> None:
    assert all(changed(provisioned.check)[node] > 5 for node in NODES)


def test_provision_brings_every_host_to_its_state(provisioned: Provisioning) -> None:
    hosts = provisioned.first.json()["hosts"]
    assert set(hosts) == set(NODES)
    assert all(stats["failed"] == stats["unreachable"] == 0 for stats in hosts.values())
    assert all(stats["changed"] > 5 for stats in hosts.values())


def test_second_provision_changes_nothing(provisioned: Provisioning) -> None:
    result = provisioned.second.json()
    assert result["changed"] == []
    assert all(count == 0 for count in changed(provisioned.second).values())


def test_plain_ansible_works_on_the_same_cluster(
    provisioned: Provisioning, cli: Cli, inventory: Path
) -> None:
    created = cli(
        "bundle", "create", "--python", "3.11", "--arch", "x86_64", "--variant", "cpu", "--json"
    )
    bundle = created.json()["path"]
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory)),
            *("-e", f"mammoctl_bundle_file={bundle}", str(REPO / "playbooks" / "provision.yml")),
        ],
        env={**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")},
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    recap = done.stdout.split("PLAY RECAP")[1]
    assert recap.count("changed=0 ") == len(NODES), recap


def test_services_survive_a_reboot(provisioned: Provisioning, node: Any) -> None:
    worker = NODES[2]
    boot = node(worker, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1")
    node(worker, "systemctl reboot", rc=None)

    def back() -> bool:
        """The node answers again, from a new start."""
        seen = node(worker, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1", rc=None)
        return bool(seen) and seen != boot

    wait_until(back, seconds=120)

    def registered() -> bool:
        """The master counts three live workers and the NameNode three DataNodes."""
        url = "http://mmtest1:8080/json/"
        alive = node(
            NODES[0],
            f"python3 -c 'import json, urllib.request as u; "
            f'print(json.load(u.urlopen("{url}"))["aliveworkers"])\'',
            rc=None,
        )
        nodes = node(
            NODES[0], "/opt/mammoctl/bin/hdfs dfsadmin -report -live | grep -c ^Name:", rc=None
        )
        return alive == "3" and nodes == "3"

    wait_until(registered, seconds=120)


def test_secrets_appear_in_no_log_and_no_command_line(
    provisioned: Provisioning, node: Any, inventory: Path
) -> None:
    secrets = [p.read_text().strip() for p in (inventory / "secrets").iterdir() if p.is_file()]
    assert secrets
    logs = "".join(run.text for run in (provisioned.check, provisioned.first, provisioned.second))
    log_file = Path(provisioned.first.json()["log"]).read_text()
    for name in NODES:
        lines = node(name, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert not any(secret in lines for secret in secrets), name
    assert not any(secret in logs or secret in log_file for secret in secrets)
    for path in (inventory / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_interrupted_provision_can_be_repeated(provisioned: Provisioning, cli: Cli) -> None:
    stopped = cli("provision", "-i", LAB, interrupt_after=6, rc=None)
    assert stopped.rc == 130, stopped.text[-2000:]
    assert "hint:" in stopped.stderr
    assert cli("provision", "-i", LAB, "--json").json()["changed"] == []
