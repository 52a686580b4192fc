"""What is told before a lock-down changes anything, by Ansible on hosts that are this machine."""

from __future__ import annotations

import os
import re
import socket

import pytest
from playing import play

pytestmark = pytest.mark.programs

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
    (folder / "bin").mkdir()
    (folder / "bin" / "nft").write_text(NFT)
    (folder / "bin" / "nft").chmod(0o755)
    played = play(
        folder,
        {
            name: {"lockdown_enabled": True, "mammoctl_outer_address": f"127.0.0.{number}", **other}
            for number, (name, other) in enumerate(CASES.items(), 1)
        },
        [
            {"import_role": {"name": "guard", "tasks_from": "preflight"}},
            {"import_role": {"name": "lockdown", "tasks_from": "preflight"}},
        ],
        environment={
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "SSH_CONNECTION": f"{OPERATOR} 50000 127.0.0.1 22",
        },
        mammoctl_nodes=list(CASES),
        mammoctl_storage="local",
        spark_ports=[{"port": "7077"}],
    )
    return played.problems(), played.said


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
