"""Machines that are seen for the first time: their keys are fetched, confirmed and pinned."""

from __future__ import annotations

import json
import subprocess

import paramiko
import pytest
from typer.testing import CliRunner

from mammoctl import inventory
from mammoctl.cli import app
from mammoctl.errors import ConnectionFailed, UsageError
from mammoctl.init import keys
from mammoctl.init.draft import Draft, Login

pytestmark = pytest.mark.programs


@pytest.fixture
def draft(home, server, tmp_path):
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    return Draft("n1", "127.0.0.1", Login("tester", server.user_key_file, server.port))


def own_known_hosts(tmp_path, server, key):
    (tmp_path / "home" / ".ssh" / "known_hosts").write_text(
        f"[127.0.0.1]:{server.port} {key.get_name()} {key.get_base64()}\n"
    )


def test_the_key_is_the_servers(draft, server, tmp_path):
    (key,) = keys.fetch([draft], tmp_path / "known_hosts")
    assert key.blob == server.host_key.get_base64()
    assert key.where == f"[127.0.0.1]:{server.port}"
    assert not key.trusted
    assert not (tmp_path / "known_hosts").exists()  # nothing is pinned without a word
    (tmp_path / "known_hosts").write_text(key.line())
    assert keys.fetch([draft], tmp_path / "known_hosts") == []


def test_a_key_that_the_user_knows_is_trusted_and_another_one_is_refused(draft, server, tmp_path):
    own_known_hosts(tmp_path, server, server.host_key)
    (key,) = keys.fetch([draft], tmp_path / "known_hosts")
    assert key.trusted
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    own_known_hosts(tmp_path, server, paramiko.Ed25519Key.from_private_key_file(str(other)))
    with pytest.raises(ConnectionFailed, match="is not the one in"):
        keys.fetch([draft], tmp_path / "known_hosts")


def test_all_machines_that_do_not_answer_are_named(draft, tmp_path):
    dead = [Draft(name, "127.0.0.1", Login("u", None, port)) for name, port in (("a", 1), ("b", 2))]
    with pytest.raises(ConnectionFailed) as caught:
        keys.fetch([draft, *dead], tmp_path / "known_hosts")
    assert caught.value.message == "2 of 3 machines do not answer"
    assert "a (127.0.0.1 port 1) refuses connections" in caught.value.details


def init(server, *more):
    host = f"n1=tester@127.0.0.1:{server.port}"
    words = ["init", "ward", "--host", host, "--key", str(server.user_key_file), *more]
    return CliRunner().invoke(app, words)


def test_an_inventory_from_nothing_to_written(draft, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = init(server)
    assert isinstance(done.exception, UsageError)  # nobody was there to confirm
    assert "--accept-new-host-keys" in done.exception.hint
    assert not (tmp_path / "inventory").exists()
    done = init(server, "--accept-new-host-keys", "--json")
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert value["schema"] == 1
    (host,) = value["hosts"]
    assert host["host_key"].startswith("SHA256:")
    assert host["cores"] >= 1
    cluster = inventory.load("ward")
    assert cluster.master.name == "n1"
    assert server.host_key.get_base64() in cluster.known_hosts.read_text()
    done = init(server, "--accept-new-host-keys")
    assert "is there already" in done.exception.message


def test_nothing_is_written_where_the_login_is_refused(draft, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    done = init(server, "--key", str(other), "--accept-new-host-keys")
    assert isinstance(done.exception, ConnectionFailed)
    assert "does not let in user tester" in done.exception.message
    assert not (tmp_path / "inventory").exists()


def test_a_refusal_at_the_terminal_writes_nothing(draft, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mammoctl.console.can_ask", lambda: True)
    host = f"n1=tester@127.0.0.1:{server.port}"
    words = ["init", "ward", "--host", host, "--key", str(server.user_key_file)]
    done = CliRunner().invoke(app, words, input="n\n")
    assert "not confirmed" in done.exception.message
    assert not (tmp_path / "inventory").exists()
    done = CliRunner().invoke(app, words, input="y\ny\n")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "inventory" / "ward" / "hosts.yml").is_file()


def test_questions_for_what_no_option_says(draft, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(CliRunner().invoke(app, ["init"]).exception, UsageError)
    monkeypatch.setattr("mammoctl.console.can_ask", lambda: True)
    answers = ["ward", f"n1=127.0.0.1:{server.port}", "tester", str(server.user_key_file), ""]
    done = CliRunner().invoke(app, ["init"], input="\n".join([*answers, "y", "y"]) + "\n")
    assert done.exit_code == 0, done.output
    assert inventory.load("ward").master.user == "tester"
