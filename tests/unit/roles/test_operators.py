"""Operators join the group of the account that runs Spark, and have a folder in HDFS."""

from __future__ import annotations

import grp
import pwd
from types import SimpleNamespace

import pytest


class Module:
    """Keeps the commands that would have run."""

    def __init__(self, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.commands: list[list[str]] = []

    def run_command(self, command, check_rc=False):
        self.commands.append(command)
        return 0, "", ""

    def fail_json(self, msg):
        raise AssertionError(msg)


@pytest.fixture
def accounts(monkeypatch):
    people = {"anna": 1000, "ben": 1000, "spark": 999}

    def getpwnam(name):
        return SimpleNamespace(pw_gid=people[name])

    groups = {"spark": SimpleNamespace(gr_mem=["anna"], gr_gid=999)}
    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(grp, "getgrnam", groups.__getitem__)
    return groups


@pytest.mark.parametrize("check", [False, True])
def test_who_is_missing_joins_and_nobody_twice(plugin, accounts, check) -> None:
    module = Module(check)
    layer = plugin("modules", "mammoctl_files").Layer(module)
    layer.members({"name": "spark", "members": ["anna", "ben", "spark"]})
    assert layer.changed == ["group spark"]
    expected = [["usermod", "--append", "--groups", "spark", "ben"]]
    assert module.commands == ([] if check else expected)
    assert layer.diff[0]["after"] == "member ben\n"


def test_before_the_group_is_there_all_would_join(plugin, accounts) -> None:
    accounts.clear()
    layer = plugin("modules", "mammoctl_files").Layer(Module(check_mode=True))
    layer.members({"name": "spark", "members": ["anna"]})
    assert layer.changed == ["group spark"]


def test_an_account_that_is_not_there_is_named(plugin, accounts) -> None:
    layer = plugin("modules", "mammoctl_files").Layer(Module())
    with pytest.raises(AssertionError, match="no account carl to join the group spark"):
        layer.members({"name": "spark", "members": ["carl"]})


def test_each_has_a_folder_of_its_own_in_hdfs(plugin) -> None:
    assert plugin("filter", "mammoctl_folder").hdfs_home("anna") == {
        "path": "/user/anna", "owner": "anna", "group": "anna", "mode": "0750",
    }  # fmt: skip


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("ours", [False, True])
def test_an_account_of_ours_gets_its_shell_back(plugin, monkeypatch, check, ours) -> None:
    files = plugin("modules", "mammoctl_files")
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_shell="/bin/bash"))
    monkeypatch.setattr(files, "load", lambda: {"users": ["spark"] if ours else []})
    module = Module(check)
    layer = files.Layer(module)
    layer.user({"name": "spark", "home": "/var/lib/spark", "shell": "/usr/sbin/nologin"})
    assert layer.changed == (["user spark"] if ours else [])
    expected = ["usermod", "--shell", "/usr/sbin/nologin", "spark"]
    assert module.commands == ([expected] if ours and not check else [])
    layer.user({"name": "spark", "home": "/var/lib/spark", "shell": "/bin/bash"})
    assert layer.changed == (["user spark"] if ours else [])
