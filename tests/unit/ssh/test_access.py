"""Operators let in and out over real connections, and what they are handed."""

from __future__ import annotations

import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mammoctl import inventory as inventories
from mammoctl import lock
from mammoctl.access import handover
from mammoctl.access.nodes import NotEverywhere
from mammoctl.backup.archive import Archive
from mammoctl.cli import app
from mammoctl.errors import MammoctlError, UsageError
from mammoctl.inventory import Host

pytestmark = pytest.mark.programs

FOREIGN = "ssh-ed25519 AAAAforeign the administrator\n"
HOSTS = """\
all:
  hosts:
    ward1: {{ansible_host: 127.0.0.1, ansible_port: {port}, ansible_ssh_private_key_file: "{key}"}}
  children:
    spark_master:
      hosts:
        ward1:
    spark_workers:
      hosts:
        ward1:
"""
COMMON = """\
ansible_ssh_private_key_file: {key}  # ours
ansible_ssh_common_args: -o ProxyCommand="ssh -i {key} -W %h:%p jump.example.org"
"""


@pytest.fixture
def site(ward, tmp_path, monkeypatch, sudo, server):
    """Three hosts that share a home, and their inventory with a key of ours in it."""
    monkeypatch.setattr(lock, "FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(handover, "_login", lambda _nodes: "")
    home = tmp_path / "home" / ".ssh"
    home.mkdir(parents=True, mode=0o700)
    (home / "authorized_keys").write_text(FOREIGN)
    folder = tmp_path / "inventory" / "test"
    (folder / "secrets").mkdir(parents=True)
    (folder / "group_vars").mkdir()
    key = folder / "id"
    key.write_bytes(server.user_key_file.read_bytes())
    key.chmod(0o600)
    (folder / "hosts.yml").write_text(HOSTS.format(port=server.port, key=key))
    (folder / "group_vars" / "all.yml").write_text(COMMON.format(key=key))
    (folder / "known_hosts").write_text((tmp_path / "known_hosts").read_text())
    (folder / "secrets" / "spark_auth_secret").write_text("s3cret\n")
    (folder / "secrets" / "spark_auth_secret.before").write_text("older\n")
    (folder / "secrets" / "data_hmac").write_text("k3y\n")
    hosts = {name: replace(host, key_file=key) for name, host in ward.hosts.items()}
    return replace(
        ward, path=folder, source=folder / "hosts.yml", hosts=hosts, master=hosts["ward1"]
    )


@pytest.fixture
def mammoctl(site, monkeypatch):
    true = inventories.load
    monkeypatch.setattr(inventories, "load", lambda s=None: true(s) if s else site)

    def run(*words, error=None):
        done = CliRunner().invoke(app, ["access", *map(str, words)])
        if isinstance(done.exception, MammoctlError) and error is None:
            raise done.exception
        if error:
            assert isinstance(done.exception, error), (done.output, done.exception)
        done.value = json.loads(done.stdout) if "--json" in words and done.stdout else None
        return done

    return run


@pytest.fixture
def maria(tmp_path):
    path = tmp_path / "maria"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def authorized(tmp_path):
    return (tmp_path / "home" / ".ssh" / "authorized_keys").read_text()


def test_in_and_out_again(mammoctl, maria, tmp_path):
    done = mammoctl("grant", "maria", "--key", f"{maria}.pub", "--json").value
    assert done["left"] == {}
    blob = Path(f"{maria}.pub").read_text().split()[1]
    assert blob in authorized(tmp_path)
    assert authorized(tmp_path).startswith(FOREIGN)
    (one,) = mammoctl("list", "--json").value["access"]
    assert (one["name"], one["nodes"], one["missing"]) == ("maria", ["ward1", "ward2", "ward3"], [])
    assert one["fingerprints"] == [done["fingerprint"]]
    assert "@" in one["by"]
    again = mammoctl("grant", "maria", "--json").value  # with the key that she has
    assert again["changed"] == []
    out = mammoctl("revoke", "maria", "--yes")
    assert "secrets rotate" in out.stderr
    assert authorized(tmp_path) == FOREIGN
    assert mammoctl("list", "--json").value["access"] == []


def test_nobody_is_let_in_whose_file_cannot_be_written(mammoctl, maria, tmp_path):
    there = tmp_path / "maria.access"
    there.touch()
    for output, said in ((there, "is there already"), (tmp_path / "no" / "x", "no folder")):
        words = ("maria", "--key", f"{maria}.pub", "--output", output)
        assert said in mammoctl("grant", *words, error=UsageError).exception.message
        assert authorized(tmp_path) == FOREIGN


def test_what_is_refused(mammoctl, maria, tmp_path):
    assert "no access yet" in mammoctl("grant", "maria", error=UsageError).exception.message
    mammoctl("grant", "maria", "--key", f"{maria}.pub")
    before = authorized(tmp_path)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "b"], check=True
    )
    done = mammoctl("grant", "maria", "--key", tmp_path / "b.pub", error=UsageError)
    assert "another key already" in done.exception.message
    assert (
        "private key"
        in mammoctl("grant", "eve", "--key", maria, error=UsageError).exception.message
    )
    done = mammoctl("revoke", "mario", "--yes", error=UsageError)
    assert "these have: maria" in done.exception.hint
    assert "confirmation" in mammoctl("revoke", "maria", error=UsageError).exception.message
    assert authorized(tmp_path) == before


def test_nodes_that_do_not_answer_are_left_and_gone_on_with(
    mammoctl, maria, site, monkeypatch, tmp_path
):
    lost = Host("ward4", "127.0.0.1", 1, user="tester", key_file=site.master.key_file)
    more = replace(site, hosts={**site.hosts, "ward4": lost})
    monkeypatch.setattr(inventories, "load", lambda _=None: more)
    done = mammoctl("grant", "maria", "--key", f"{maria}.pub", "--json", error=NotEverywhere)
    assert set(done.value["left"]) == {"ward4"}
    assert "ward4" in done.exception.message
    assert done.exception.hint == "when they answer: mammoctl access grant maria"
    listed = mammoctl("list")
    assert "not asked: ward4" in listed.stderr
    assert listed.exit_code == 1
    monkeypatch.setattr(inventories, "load", lambda _=None: replace(more, hosts={"ward4": lost}))
    assert mammoctl("list").stdout == ""  # that nobody was let in is not known
    monkeypatch.setattr(inventories, "load", lambda _=None: more)
    done = mammoctl("revoke", "maria", "--yes", "--json", error=NotEverywhere)
    assert set(done.value["left"]) == {"ward4"}
    assert authorized(tmp_path) == FOREIGN
    # Who was the last to know of it may repeat it, too.
    mammoctl("revoke", "maria", "--yes", error=NotEverywhere)


def test_a_foreign_line_with_the_same_key_is_told_and_left(mammoctl, maria, tmp_path):
    path = tmp_path / "home" / ".ssh" / "authorized_keys"
    foreign = FOREIGN + Path(f"{maria}.pub").read_text()
    path.write_text(foreign)
    assert (
        "a revoke will not remove it" in mammoctl("grant", "maria", "--key", f"{maria}.pub").stderr
    )
    assert "by hand" in mammoctl("revoke", "maria", "--yes").stderr.replace("\n", " ")
    assert authorized(tmp_path) == foreign


def test_what_is_handed_over_becomes_an_inventory_that_works(
    mammoctl, maria, site, tmp_path, monkeypatch
):
    target = tmp_path / "maria.access"
    mammoctl("grant", "maria", "--key", f"{maria}.pub", "--output", target)
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        names = tar.getnames()
    assert "secrets/spark_auth_secret" in names
    assert "secrets/data_hmac" in names
    assert not {"id", "id.pub", "secrets/spark_auth_secret.before"} & set(names)
    assert b"PRIVATE KEY" not in target.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    done = mammoctl("accept", target, "--key", maria, "--json").value
    folder = elsewhere / "inventory" / "test"
    assert done["folder"] == str(folder)
    assert (folder / "secrets" / "spark_auth_secret").read_text() == "s3cret\n"
    assert (folder / "secrets").stat().st_mode & 0o077 == 0
    text = (folder / "hosts.yml").read_text() + (folder / "group_vars" / "all.yml").read_text()
    assert str(site.path) not in text
    loaded = inventories.load(str(folder / "hosts.yml"))
    assert loaded.master.key_file == maria
    assert str(maria) in loaded.master.ssh_options["ProxyCommand"]
    refused = mammoctl("accept", target, "--key", maria, error=UsageError)
    assert "is there already" in refused.exception.message
    (folder / "secrets" / "spark_auth_secret").write_text("stale\n")
    mammoctl("accept", target, "--key", maria, "--force")
    assert (folder / "secrets" / "spark_auth_secret").read_text() == "s3cret\n"
    (folder / "group_vars" / "all.yml").write_text("mammoctl_cluster: another\n")
    refused = mammoctl("accept", target, "--key", maria, "--force", error=UsageError)
    assert "describes another, not test" in refused.exception.message
    assert next(folder.glob("before-restore-*/secrets/spark_auth_secret")).read_text() == "stale\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ansible_ssh_private_key_file: ~/.ssh/a", 'ansible_ssh_private_key_file: "/k"'),
        ("  ansible_private_key_file: '/x y/z'  # c", '  ansible_private_key_file: "/k"  # c'),
        ("n1 ansible_private_key_file=~/a x=2", 'n1 ansible_private_key_file="/k" x=2'),
        ("{ansible_ssh_private_key_file: /a, x: 1}", '{ansible_ssh_private_key_file: "/k", x: 1}'),
        ('"ansible_private_key_file": "{{ dir }}/id"', '"ansible_private_key_file": "/k"'),
    ],
)  # fmt: skip
def test_the_key_is_set_however_it_is_written(text, expected):
    done = handover._for_us({"hosts.yml": text.encode()}, Path("/k"), "")
    assert done == {"hosts.yml": expected.encode()}


def test_a_login_and_a_key_that_nobody_named_are_added_where_ansible_reads_them():
    for name in ("group_vars/all.yml", "group_vars/all"):
        done = handover._for_us({name: b"a: 1\n", "hosts.yml": b"all:"}, Path("/k"), "admin")
        assert done[name] == b'a: 1\nansible_user: "admin"\nansible_ssh_private_key_file: "/k"\n'
    done = handover._for_us({"group_vars/all/x.yml": b"a: 1\n"}, None, "admin")
    assert done["group_vars/all/access.yml"] == b'---\nansible_user: "admin"\n'
    assert handover._for_us({"hosts.yml": b"all:"}, None, "") == {"hosts.yml": b"all:"}


def test_an_archive_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UsageError):
        Archive(tmp_path / "none", handover.KIND)
