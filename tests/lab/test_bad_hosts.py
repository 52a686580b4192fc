"""Hosts with something to mend: all of it told at once, before anything is changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import Cli, Finished
from .own_lab import OwnLab, own_lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET = "mmbad", "10.213.10.0/24"
PASSWORD = "correct horse"
HOLD_LOCK = (
    "import fcntl, time; s = open('/var/lib/dpkg/lock-frontend', 'w');"
    " fcntl.lockf(s, fcntl.LOCK_EX); time.sleep(600)"
)


@pytest.fixture(scope="module")
def bare(cli: Cli) -> Iterator[OwnLab]:
    with own_lab(cli, LAB, SUBNET, "--nodes", "3") as lab:
        yield lab


def untouched(lab: OwnLab) -> None:
    """Fail when anything of mammoctl is on a node."""
    for node in lab.nodes:
        assert lab.on(node, "ls -d /var/lib/mammoctl /opt/mammoctl 2>/dev/null", rc=None) == "", (
            node
        )
        assert "nftables" not in lab.on(node, "dpkg-query -W -f '${Package} '"), node


def said(done: Finished, *lines: str) -> None:
    """Each line is a pattern that must be found in one line of what was said."""
    missing = [line for line in lines if not re.search(line, done.stderr)]
    assert not missing, f"{missing} not in:\n{done.stderr}"


def test_everything_is_told_at_once_for_all_hosts(bare: OwnLab) -> None:
    one, two, three = bare.nodes
    bare.on(one, "useradd --create-home spark; mkdir /opt/spark; groupadd hdfs")
    bare.on(two, f"hostname {three}")
    bare.on(three, "systemd-run --unit squatter python3 -m http.server 8081")
    wrong = ("-e", "common_min_memory_mb=99999", "-e", "common_max_clock_skew_s=-1")
    try:
        done = bare.run("provision", *wrong, rc=1)
        said(
            done,
            rf"{one} failed",
            r"an account 'spark' that others made \(home /home/spark\).*spark_user",
            r"a group 'hdfs' that others made.*hdfs_user",
            r"/opt/spark is something that others made.*mv /opt/spark",
            rf"{two} failed",
            rf"calls itself {three}, and names of it are others' too: {three} .*set-hostname {two}",
            rf"{three} failed",
            r"8081 \(python3, squatter.service\).*Stop that program",
            r"MiB of memory; needed: 99999 MiB.*common_min_memory_mb",
            r"the clock is [0-9.]+ s .*Set the clock",
        )
        check = bare.run("provision", "--check", rc=1)
        said(check, *(rf"{node} failed" for node in bare.nodes))
        untouched(bare)
    finally:
        bare.on(one, "userdel --remove spark; rmdir /opt/spark; groupdel hdfs")
        bare.on(two, f"hostname {two}")
        bare.on(three, "systemctl stop squatter")


def test_another_package_manager_at_work(bare: OwnLab) -> None:
    node = bare.nodes[1]
    bare.on(node, f'systemd-run --unit other-apt python3 -c "{HOLD_LOCK}"')
    try:
        done = bare.run("provision", "-e", "common_apt_lock_timeout_s=3", rc=1)
        said(
            done, rf"{node} failed", r"another package manager works on the host: python3 \(process"
        )
        said(done, r"hint: .*wait until it has ended")
        assert done.seconds < 60
        untouched(bare)
    finally:
        bare.on(node, "systemctl stop other-apt")


def test_a_full_disk(bare: OwnLab) -> None:
    one, two, _three = bare.nodes
    for node in (one, two):
        bare.on(node, "mkdir -p /opt && mount -t tmpfs -o size=100m tmpfs /opt")
    try:
        done = bare.run("provision", rc=1)
        said(
            done,
            rf"{one}: .*100 MiB free",
            rf"{two}: .*100 MiB free",
            "hint: .*nothing has been changed",
        )
        untouched(bare)
    finally:
        for node in (one, two):
            bare.on(node, "umount /opt")


def test_a_source_that_fails_in_the_middle(bare: OwnLab) -> None:
    node = bare.nodes[2]
    # The lists come; then nothing more does.
    bare.on(node, "apt-get -q update")
    bare.on(
        node,
        'printf \'Acquire { http::Proxy "http://127.0.0.1:9"; https::Proxy "http://127.0.0.1:9"; '
        "Retries 0; };\\n' > /etc/apt/apt.conf.d/zz-test",
    )
    try:
        done = bare.run("provision", "--tags", "common", rc=1)
        said(done, rf"{node} failed", "apt-get install failed", "hint: .*package mirror")
    finally:
        bare.on(node, "rm /etc/apt/apt.conf.d/zz-test")
    bare.run("provision", "--tags", "common")
    bare.run("teardown", "--data", "--yes")
    untouched(bare)


def test_a_sudo_that_asks_and_nobody_to_answer(bare: OwnLab, tmp_path: Path) -> None:
    node = bare.nodes[0]
    with bare.asking(node, PASSWORD):
        done = bare.run("provision", rc=1)
        said(done, rf"cannot become root on {node}", "hint: .*--ask-become-pass")
        wrong = tmp_path / "wrong"
        wrong.write_text("not the password\n")
        cli = Cli(bare.cli.cwd, {**bare.cli.env, "ANSIBLE_BECOME_PASSWORD_FILE": str(wrong)})
        done = OwnLab(cli, bare.name).run("provision", rc=1)
        said(done, rf"cannot become root on {node}")
        assert "not the password" not in done.text
    untouched(bare)


def test_a_jump_host_that_is_not_known(bare: OwnLab, tmp_path: Path) -> None:
    one, two, _three = bare.nodes
    copy = tmp_path / "inventory" / "jumping"
    shutil.copytree(bare.inventory, copy)
    variables = copy / "group_vars" / "all.yml"
    addresses = {name: _address(bare, name) for name in (one, two)}
    variables.write_text(
        variables.read_text().replace(
            "-o StrictHostKeyChecking=yes",
            f"-o StrictHostKeyChecking=yes -o ProxyJump=admin@{addresses[one]}:2222",
        )
    )
    done = bare.cli("provision", "-i", str(copy), rc=1)
    said(done, rf"the jump host {addresses[one]}", "refuses connections")


def _address(lab: OwnLab, name: str) -> str:
    status = lab.cli("lab", "status", "--name", lab.name, "--json").json()
    return str(next(node["address"] for node in status["nodes"] if node["name"] == name))
