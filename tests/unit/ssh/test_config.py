import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mammoctl.errors import ConnectionFailed
from mammoctl.inventory import Host
from mammoctl.ssh.commands import Result, command_line, quoted, require_all
from mammoctl.ssh.config import render, ssh_config
from mammoctl.ssh.failures import sudo_problem

NODE = Host(
    "n1", "192.0.2.1", 2222, user="admin", key_file=Path("/k/id"),
    ssh_options={"ProxyJump": "gate", "StrictHostKeyChecking": "yes"},
)  # fmt: skip


@pytest.fixture(autouse=True)
def _home(home):
    """No ~/.ssh of whoever runs the tests."""


def test_rendered(make_cluster, tmp_path):
    text = render(make_cluster(NODE, Host("n2", "n2")), Path("/c"))
    assert text == (
        "Host n1 192.0.2.1\n  HostName 192.0.2.1\n  Port 2222\n  ControlPath /c/0\n  User admin\n"
        "  IdentityFile /k/id\n  IdentitiesOnly yes\n  ProxyJump gate\n\n"
        "Host n2\n  HostName n2\n  Port 22\n  ControlPath /c/1\n\n"
        "Host *\n  BatchMode yes\n  StrictHostKeyChecking yes\n"
        f"  UserKnownHostsFile {tmp_path}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        "  UpdateHostKeys no\n  ConnectTimeout 10\n  ServerAliveInterval 10\n"
        "  ServerAliveCountMax 6\n  ControlMaster auto\n  ControlPersist 60\n"
    )


def test_paths_with_spaces_are_quoted(make_cluster):
    text = render(make_cluster(replace(NODE, key_file=Path("/my keys/id"))), Path("/c d"))
    assert '  IdentityFile "/my keys/id"\n' in text
    assert '  ControlPath "/c d/0"\n' in text


def test_private_and_gone_afterwards(make_cluster):
    with ssh_config(make_cluster(NODE)) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()


def test_control_path_fits_a_socket(make_cluster, tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with ssh_config(make_cluster(NODE)) as path:
        assert len(str(path.parent)) + 5 + 18 <= 104
    assert not list(deep.iterdir())


@pytest.mark.parametrize(
    ("command", "sudo", "login", "line"),
    [
        (["ls", "a b"], False, "admin", "ls 'a b'"),
        ("ls | wc", False, "admin", "sh -c 'ls | wc'"),  # the login shell may be none like sh
        (["id"], True, "admin", "sudo -n -- id"),
        ("id; ls", True, "admin", "sudo -n -- sh -c 'id; ls'"),
        (["id"], "spark", "admin", "sudo -n -H -u spark -- id"),
        (["id"], True, "root", "id"),
        (["id"], "spark", "root", "runuser -u spark -- id"),
        (["id"], "admin", "admin", "id"),
    ],
)
def test_command_line(command, sudo, login, line):
    english = "env -u LANGUAGE LC_ALL=C.UTF-8 "
    assert command_line(command, sudo=sudo, login=login) == english + line


def test_sudo_with_a_password_asks_each_time_and_shows_nothing():
    line = command_line(["id"], sudo="spark", login="admin", password=True)
    assert line == "env -u LANGUAGE LC_ALL=C.UTF-8 sudo -k -S -p '' -H -u spark -- id"


@pytest.mark.parametrize(
    "argv",
    [
        ["a b", "", "it's", 'say "x"', "$HOME", "one\ntwo", "~", "*", "{a,b}"],
        ["sed -n 's/^x: *\\([0-9]*\\).*/\\1/p'", "\\", "\\\\'", "a\\ b"],
    ],
)
def test_quoting_says_the_same_to_every_shell(argv):
    said = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {quoted(argv)}"], capture_output=True, text=True, check=True
    )
    assert said.stdout.split("\0")[:-1] == argv
    # To fish, inside single quotes a backslash escapes a quote and itself: there must be none.
    inside = re.findall(r"'([^']*)'", quoted(argv).replace("'\"'\"'", ""))
    assert not any("\\" in text for text in inside)


@pytest.mark.parametrize(
    ("stderr", "problem"),
    [
        ("sudo: a password is required\n", "sudo: a password is required"),
        ("admin is not in the sudoers file.\n", "admin is not in the sudoers file."),
        ("sh: 1: sudo: not found\n", "sh: 1: sudo: not found"),
        ("sudo: unable to resolve host password1: Name or service not known\n", ""),
        ("cat: /x: No such file or directory\n", ""),
    ],
)
def test_sudo_problem(stderr, problem):
    assert sudo_problem(stderr) == problem


def test_require_all_names_every_failed_host():
    good = Result("n1", "true", "", "", 0)
    bad = {name: ConnectionFailed(f"{name} is off", hint="on") for name in ("n2", "n3")}
    assert require_all({"n1": good}) == {"n1": good}
    with pytest.raises(ConnectionFailed, match=r"^n2 is off$"):
        require_all({"n1": good, "n2": bad["n2"]})
    with pytest.raises(ConnectionFailed, match="2 of 3 hosts cannot be used: n2, n3") as caught:
        require_all({"n1": good, **bad})
    assert caught.value.details == ["n2 is off", "    hint: on", "n3 is off", "    hint: on"]
