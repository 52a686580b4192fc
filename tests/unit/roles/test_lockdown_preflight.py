"""What is told before a lock-down changes anything, by Ansible on hosts that are this machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parents[3]
OPERATOR = "198.51.100.7"
CASES = {
    "off": {"lockdown_enabled": False},
    "open": {},
    "narrow": {"lockdown_ssh_from": ["198.51.100.0/24"]},
    "cut": {"lockdown_ssh_from": ["192.0.2.0/24"]},
    "mistaken": {"lockdown_ssh_from": ["ward1"], "lockdown_ports": [{"port": 70000}]},
    "rule": {"lockdown_rules": ["nonsense accept"]},
    "hasty": {"lockdown_confirm_s": 3},
    # The others reach it from an address that the inventory does not know.
    "stray": {"mammoctl_outer_address": "192.0.2.55"},
}
NFT = """#!/bin/sh
case "$*" in
  "list tables") echo "table inet theirs" ;;
  *--check*) for last in "$@"; do :; done
    ! grep -q nonsense "$last" || { echo "$last:40:5-12: Error: syntax error" >&2; exit 1; } ;;
esac
"""


def has_route() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(("192.0.2.55", 9)) == 0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], str]:
    """Return host -> what was found, all lines in one text; and what Ansible printed."""
    folder = tmp_path_factory.mktemp("plays")
    inventory = folder / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "group_vars" / "all").symlink_to(ROOT / "playbooks" / "group_vars" / "all")
    hosts = {
        name: {"lockdown_enabled": True, "mammoctl_outer_address": f"127.0.0.{number}", **other}
        for number, (name, other) in enumerate(CASES.items(), 1)
    }
    play = {
        "hosts": "all",
        "gather_facts": False,
        "connection": "local",
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "mammoctl_nodes": list(CASES),
            "mammoctl_storage": "local",
            "spark_ports": [{"port": "7077"}],
        },
        "tasks": [
            {"import_role": {"name": "guard", "tasks_from": "preflight"}},
            {"import_role": {"name": "lockdown", "tasks_from": "preflight"}},
            {
                "copy": {
                    "content": "{{ ansible_facts['mammoctl_problems'] | default([]) | to_json }}",
                    "dest": f"{folder}/{{{{ inventory_hostname }}}}.json",
                }
            },
        ],
    }
    (inventory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    (folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    (folder / "bin").mkdir()
    (folder / "bin" / "nft").write_text(NFT)
    (folder / "bin" / "nft").chmod(0o755)
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SSH_CONNECTION": f"{OPERATOR} 50000 127.0.0.1 22",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "-i", inventory, "play.yml"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    found = {name: "\n".join(json.loads((folder / f"{name}.json").read_text())) for name in CASES}
    return found, re.sub(r"\s+", " ", done.stdout + done.stderr)


@pytest.mark.parametrize("name", ["off", "open", "narrow"])
def test_nothing_is_made_up(told, name):
    assert told[0][name] == ""


@pytest.mark.parametrize(
    ("name", "seen", "mend"),
    [
        (
            "cut",
            f"you come from {OPERATOR}",
            "Add that address, or its network, to lockdown_ssh_from",
        ),
        (
            "mistaken",
            "lockdown_ports has the port 70000; lockdown_ssh_from has ward1",
            "Correct it",
        ),
        ("rule", "nft does not take the rules: line 40:5-12: Error", "Correct lockdown_rules"),
        ("hasty", "lockdown_confirm_s is 3", "Correct it"),
    ],
)
def test_each_is_told_alone_with_its_mend(told, name, seen, mend):
    (line,) = told[0][name].splitlines()
    assert seen in line and mend in line


def test_a_node_that_comes_from_another_address_would_be_shut_out(told):
    if not has_route():
        pytest.skip("this machine has no route to other networks")
    (line,) = told[0]["stray"].splitlines()
    assert re.search(r"of the cluster, off \([0-9.]+\), open \(", line)
    assert "mammoctl_node_address" in line


def test_packet_filters_of_others_are_told_where_there_is_a_lock_down(told):
    assert "open: nftables has tables of others (inet theirs): they stay as they are" in told[1]
    assert "off: nftables" not in told[1]
