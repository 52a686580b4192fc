"""The password for sudo: found where Ansible finds it, shown nowhere."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from mammoctl import become
from mammoctl.errors import UsageError
from mammoctl.inventory import Cluster, Host

SECRET = "s3cr3t pass"


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch):
    monkeypatch.setattr(become, "_asked", [])
    monkeypatch.setenv(become.VARIABLE, "")
    monkeypatch.delenv(become.VARIABLE)


def test_no_password_is_known():
    assert become.password(Host("a", "a")) is None


@pytest.mark.parametrize(
    "name", ["ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"]
)
def test_the_hosts_own_password_counts_first(name):
    become.remember("for all")
    assert become.password(Host("a", "a", vars={name: SECRET})) == SECRET
    assert become.password(Host("b", "b", vars={name: ""})) == "for all"


def test_programs_that_are_started_find_what_was_typed_and_nothing_shows_it(monkeypatch):
    monkeypatch.setattr("getpass.getpass", lambda _prompt: SECRET)
    become.ask()
    assert become.password(Host("a", "a")) == SECRET
    assert SECRET not in "".join(os.environ.values())
    (number,) = become.inherited()
    assert stat.S_IMODE(os.fstat(number).st_mode) == 0o600
    for _time in range(2):  # Ansible and the checks, one after the other
        seen = subprocess.run(
            ["sh", "-c", f'cat "${become.VARIABLE}"'],
            pass_fds=become.inherited(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert seen.stdout == SECRET


def test_a_file_with_the_password(tmp_path, monkeypatch):
    path = Path(tmp_path / "secret")
    path.write_text(SECRET + "\n")
    monkeypatch.setenv(become.VARIABLE, str(path))
    assert become.password(Host("a", "a")) == SECRET
    path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        become.password(Host("a", "a"))


def test_nobody_to_ask(monkeypatch):
    def end(_prompt):
        raise EOFError

    monkeypatch.setattr("getpass.getpass", end)
    with pytest.raises(UsageError, match="no password"):
        become.ask()


def test_hosts_whose_plain_sudo_gets_a_password():
    hosts = {
        "a": Host("a", "a", vars={"ansible_become_password": SECRET}),
        "b": Host("b", "b", vars={"ansible_become_password": SECRET, "ansible_become_exe": "x"}),
        "c": Host("c", "c"),
    }
    cluster = Cluster("c", Path("/i"), Path("/i/hosts.yml"), hosts, hosts["a"], [hosts["b"]])
    assert become.asking(cluster) == {"a"}
