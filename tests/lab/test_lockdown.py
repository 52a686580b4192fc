"""A node's lock-down, on real machines: what answers, and that it locks nobody out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from mammoctl.lab import network
from mammoctl.lab import state as states

from .command import Cli
from .conftest import wait_until
from .outsider import Outsider, outsider
from .own_lab import OwnLab, own_lab
from .test_interruptions import ansible_below

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET = "mmlock", "10.231.41.0/24"
OPERATOR, MONITOR, STRANGER = "10.231.41.1", "10.231.41.200", "10.231.41.201"
TABLE = "nft --stateless list table inet mammoctl_lockdown"
TIMER = "mammoctl-lockdown-restore.timer"
DECLARED: dict[str, Any] = {
    "lockdown_enabled": True,
    "lockdown_ssh_from": [OPERATOR],
    "lockdown_ports": [{"port": 9100, "from": [MONITOR]}, {"port": 9200}],
}
# Passes every check, as nobody but the kernel knows what it means: new SSH connections are dropped.
PLANTED = "tcp dport 22 ct state new drop"
CUTS_OFF = json.dumps({"lockdown_rules": [PLANTED], "lockdown_confirm_s": 40})
# What listens on a node beside the cluster: two that are declared, one that is not.
LISTENERS = """
import socket, time
held = [socket.create_server(("", port)) for port in (9100, 9200, 5432)]
time.sleep(86400)
"""
OURS = [22, 5432, 7077, 7078, 8020, 8080, 9100, 9200, 9866]


@dataclass
class Ward:
    """The lab, its inventory as it was, and two machines that are not in it."""

    lab: OwnLab
    monitor: Outsider
    stranger: Outsider
    addresses: dict[str, str]
    plain: str
    runs: dict[str, Any] = field(default_factory=dict)

    def declare(self, **settings: Any) -> None:
        """Write settings into the inventory; none: as it was."""
        path = self.lab.inventory / "group_vars" / "all.yml"
        path.write_text(self.plain + (yaml.safe_dump(settings) if settings else ""))

    def changed(self, *args: str) -> list[Any]:
        """Provision and return what was changed."""
        changed: list[Any] = self.lab.run("provision", "--json", *args).json()["changed"]
        return changed

    def rules(self, node: str) -> str:
        """Return a node's rules, asked past its SSH server; '' for none."""
        state = states.load(LAB)
        assert state is not None
        (one,) = [found for found in state.nodes if found.name == node]
        argv = network.in_netns(state, one, *TABLE.split())
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def ward(cli: Cli) -> Iterator[Ward]:
    """Provision bare machines with a lock-down from the beginning."""
    with ExitStack() as stack:
        lab = stack.enter_context(own_lab(cli, LAB, SUBNET, "--nodes", "2"))
        status = cli("lab", "status", "--name", LAB, "--json").json()
        monitor, stranger = (
            stack.enter_context(outsider(status["bridge"], f"{address}/24", name))
            for address, name in ((MONITOR, "mmmonitor"), (STRANGER, "mmstranger"))
        )
        plain = (lab.inventory / "group_vars" / "all.yml").read_text()
        addresses = {node["name"]: node["address"] for node in status["nodes"]}
        here = Ward(lab, monitor, stranger, addresses, plain)
        here.declare(**DECLARED)
        here.runs["check"] = lab.run("provision", "--check", "--diff", "--json").json()
        here.runs["first"] = lab.run("provision", "--json").json()
        here.runs["second"] = lab.run("provision", "--json").json()
        yield here


def test_it_comes_up_as_predicted_and_once(ward: Ward) -> None:
    def of_role(run: Any) -> set[tuple[str, str]]:
        return {(one["host"], one["task"]) for one in run["changed"] if "lockdown :" in one["task"]}

    first = of_role(ward.runs["first"])
    assert {host for host, _task in first} == set(ward.lab.nodes)
    assert of_role(ward.runs["check"]) == first
    assert ward.runs["second"]["changed"] == []
    for node in ward.lab.nodes:
        assert "policy drop" in ward.rules(node)
        assert ward.lab.on(node, "systemctl is-enabled mammoctl-lockdown") == "enabled"
        assert ward.lab.on(node, f"systemctl is-active {TIMER} || true") == "inactive"


def test_ports_answer_as_declared(ward: Ward) -> None:
    master, worker = ward.lab.nodes
    for node in ward.lab.nodes:
        ward.lab.on(
            node,
            "cat > /root/listeners.py; systemd-run --unit listeners python3 /root/listeners.py",
            stdin=LISTENERS,
        )
        address = ward.addresses[node]
        wait_until(lambda a=address: ward.monitor.reaches(a, [9200]), seconds=30)
        assert ward.monitor.reaches(address, OURS) == {9100, 9200}
        assert ward.stranger.reaches(address, OURS) == {9200}
    from_worker = ward.lab.json_on(worker, _scan(ward.addresses[master]))
    # SSH from node to node is the cluster's own; the master is no host of other people's ports.
    assert set(from_worker) == {22, 7077, 7078, 8020, 8080, 9200, 9866}
    # The node itself sees all of it.
    assert 5432 in ward.lab.json_on(master, _scan(ward.addresses[master]))


def _scan(address: str) -> str:
    return (
        "import json, socket\n"
        "def ok(port):\n"
        "    with socket.socket() as s:\n"
        "        s.settimeout(1)\n"
        f"        return s.connect_ex(('{address}', port)) == 0\n"
        f"print(json.dumps([port for port in {OURS} if ok(port)]))\n"
    )


def test_the_cluster_verifies_behind_it(ward: Ward) -> None:
    verified = ward.lab.run("verify", "--json", timeout=900).json()
    assert verified["ok"], [one for one in verified["checks"] if one["outcome"] != "passed"]
    assert {one["host"] for one in verified["checks"] if one["role"] == "lockdown"} == set(
        ward.lab.nodes
    )
    found = ward.lab.run("check", "--security", "--json", rc=None).json()["findings"]
    assert not [one for one in found if "lock-down" in one["seen"] or "5432" in one["seen"]]


def test_who_would_be_shut_out_is_told_before_anything_is_changed(ward: Ward) -> None:
    before = {node: ward.rules(node) for node in ward.lab.nodes}
    told = ward.lab.run("provision", "-e", '{"lockdown_ssh_from": ["192.0.2.0/24"]}', rc=1)
    text = " ".join(told.stderr.split())
    assert all(re.search(rf"failed: \[{node}\]", text) for node in ward.lab.nodes)
    assert f"you come from {OPERATOR}, and lockdown_ssh_from does not" in text
    assert "Add that address, or its network, to lockdown_ssh_from" in text
    wrong = ward.lab.run(
        "provision", "-e", '{"lockdown_rules": ["tcp dport nonsense accept"]}', rc=1
    )
    assert "nft does not take the rules: line" in " ".join(wrong.stderr.split())
    node = ward.lab.nodes[1]
    ward.lab.on(node, "mkdir /etc/ufw; echo ENABLED=yes > /etc/ufw/ufw.conf")
    try:
        found = ward.lab.run("check", "--json", rc=None).json()["findings"]
    finally:
        ward.lab.on(node, "rm -r /etc/ufw")
    (ufw,) = [one for one in found if "ufw is active" in one["seen"]]
    assert (ufw["host"], ufw["grave"]) == (node, False)
    assert {node: ward.rules(node) for node in ward.lab.nodes} == before


def test_rules_that_cut_the_operator_off_go_again(ward: Ward) -> None:
    before = {node: ward.rules(node) for node in ward.lab.nodes}
    process = ward.lab.cli.start("provision", "-i", LAB, "-e", CUTS_OFF)
    cut_off = False
    while process.poll() is None:
        if not cut_off and all(PLANTED in ward.rules(node) for node in ward.lab.nodes):
            answers = ["ssh-keyscan", "-T", "3", ward.addresses[ward.lab.nodes[0]]]
            done = subprocess.run(answers, capture_output=True, text=True, check=False)
            cut_off = done.stdout == ""
        time.sleep(0.5)
    _stdout, stderr = process.communicate()
    assert cut_off, f"nobody was cut off: the test shows nothing\n{stderr}"
    assert process.returncode == 1
    text = " ".join(stderr.split())
    assert "were not confirmed over a new SSH connection" in text
    assert "The node has taken them back, and answers as before." in text
    assert {node: ward.rules(node) for node in ward.lab.nodes} == before
    for node in ward.lab.nodes:
        assert PLANTED not in ward.lab.on(node, "cat /etc/mammoctl/lockdown.nft")
    assert ward.changed() == []


def test_a_run_that_is_killed_in_the_middle_leaves_no_rules(ward: Ward) -> None:
    before = {node: ward.rules(node) for node in ward.lab.nodes}
    process = ward.lab.cli.start("provision", "-i", LAB, "-e", CUTS_OFF)
    try:
        wait_until(
            lambda: any(PLANTED in ward.rules(node) for node in ward.lab.nodes), seconds=300,
            every=0.3,
        )  # fmt: skip
        group = ansible_below(process.pid)
        assert group, "the run had ended by then"
        os.killpg(group, signal.SIGKILL)
    finally:
        process.communicate(timeout=120)
    wait_until(lambda: {node: ward.rules(node) for node in ward.lab.nodes} == before, seconds=90)
    assert ward.changed() == []


def test_it_is_there_before_the_network_after_a_boot(ward: Ward) -> None:
    node = ward.lab.nodes[1]
    before, boot = ward.rules(node), "cat /proc/sys/kernel/random/boot_id"
    first = ward.lab.on(node, boot)
    ward.lab.on(node, "systemctl reboot", rc=None)
    wait_until(lambda: ward.lab.on(node, boot, rc=None) not in ("", first), seconds=180)
    ward.lab.cli("lab", "start", "--name", LAB)
    assert ward.rules(node) == before
    order = ward.lab.on(
        node,
        "for unit in mammoctl-lockdown ssh; do systemctl show --value"
        " --property=ActiveEnterTimestampMonotonic $unit; done",
    )
    locked, opened = map(int, order.split())
    assert 0 < locked < opened
    assert ward.stranger.reaches(ward.addresses[node], OURS) == set()
    verified = ward.lab.run("verify", "--role", "lockdown", "--json").json()
    assert verified["ok"], verified


def test_rules_that_somebody_changed_are_told_and_mended(ward: Ward) -> None:
    node = ward.lab.nodes[0]
    ward.lab.on(node, "nft insert rule inet mammoctl_lockdown input accept")
    found = ward.lab.run("check", "--security", "--json", rc=1).json()["findings"]
    (told,) = [one for one in found if "lock-down" in one["seen"]]
    assert (told["host"], told["grave"]) == (node, True)
    assert told["seen"].startswith("the lock-down has been changed")
    assert ward.lab.run("verify", "--role", "lockdown", "--json", rc=1).json()["ok"] is False
    assert {one["host"] for one in ward.changed()} == {node}
    assert ward.lab.run("verify", "--role", "lockdown", "--json").json()["ok"]


def test_without_the_setting_it_goes(ward: Ward) -> None:
    ward.declare()
    assert {one["host"] for one in ward.changed()} == set(ward.lab.nodes)
    for node in ward.lab.nodes:
        assert ward.rules(node) == ""
        left = "ls /etc/mammoctl/lockdown.nft /etc/systemd/system/mammoctl-lockdown.service"
        assert ward.lab.on(node, f"{left} 2>/dev/null || true") == ""
        assert "inet mammoctl" in ward.lab.on(node, "nft list tables"), "the guard stays"
        assert 22 in ward.stranger.reaches(ward.addresses[node], [22])
    assert ward.changed() == []
    assert ward.lab.run("verify", "--role", "lockdown", "--json").json()["ok"]


def test_a_teardown_takes_it_along(ward: Ward) -> None:
    ward.declare(**DECLARED)
    ward.changed()
    assert all(ward.rules(node) for node in ward.lab.nodes)
    ward.lab.run("teardown", "--data", "--keep-packages", "--yes")
    for node in ward.lab.nodes:
        assert ward.rules(node) == ""
        assert ward.lab.on(node, "ls /run/mammoctl-lockdown.nft 2>/dev/null || true") == ""
