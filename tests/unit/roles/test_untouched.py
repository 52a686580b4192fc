"""What the roles leave as it is: swap, locale, kernel settings, limits of other accounts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROLES = Path(__file__).resolve().parents[3] / "roles"
FILES = sorted(
    path
    for role in ROLES.iterdir()
    for folder in ("tasks", "handlers", "templates")
    for path in (role / folder).glob("*")
    if path.is_file()
)
OTHERS = re.compile(
    r"/etc/(fstab|locale\S*|default/locale|environment|sysctl\S*|security/limits\.conf|ssh/sshd_config)\b"
    r"|\b(swapoff|swapon|mkswap|vm\.swappiness|locale-gen|localectl|update-locale|timedatectl|sysctl)\b"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROLES)))
def test_nothing_of_the_systems_is_touched(path):
    found = [line for line in path.read_text().splitlines() if OTHERS.search(line)]
    assert not found


def test_the_pattern_finds_what_it_is_for():
    for line in ("path: /etc/fstab", "swapoff -a", "  - sysctl -p", "/etc/security/limits.conf"):
        assert OTHERS.search(line)
    assert not OTHERS.search("/etc/security/limits.d/mammoctl.conf")


def test_limits_are_those_of_the_clusters_accounts_alone():
    lines = (ROLES / "common/templates/limits.conf.j2").read_text().splitlines()
    loop = next(line for line in lines if line.startswith("{% for user in"))
    assert re.findall(r"\w+_user", loop) == ["spark_user", "hdfs_user", "ssh_user"]
    rules = [line for line in lines if (line and line[0] not in "#{") or line.startswith("{{")]
    assert rules == ["{{ user }} - nofile {{ common_open_files }}"]
