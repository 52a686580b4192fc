"""A small SSH server on loopback: real connections, real host keys, commands run by sh."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest
from typer.testing import CliRunner

from mammoctl.inventory import Cluster, Host


class _Session(paramiko.ServerInterface):
    def __init__(self, allowed: paramiko.PKey, forwarding: bool) -> None:
        self.allowed = allowed
        self.forwarding = forwarding
        self.destinations: dict[int, tuple[str, int]] = {}

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        same = key.asbytes() == self.allowed.asbytes()
        return paramiko.AUTH_SUCCESSFUL if same else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        if not self.forwarding:
            return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        with contextlib.suppress(OSError):
            socket.create_connection(destination, timeout=2).close()
            self.destinations[chanid] = destination
            return paramiko.OPEN_SUCCEEDED
        return paramiko.OPEN_FAILED_CONNECT_FAILED

    def check_channel_env_request(self, channel, name, value):
        return True

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=_execute, args=(channel, command), daemon=True).start()
        return True


def _execute(channel: paramiko.Channel, command: bytes) -> None:
    process = subprocess.Popen(
        ["sh", "-c", command.decode()],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,  # as sshd does
    )  # fmt: skip

    def feed() -> None:
        with contextlib.suppress(OSError):
            while data := channel.recv(65536):
                process.stdin.write(data)
                process.stdin.flush()
        with contextlib.suppress(OSError):
            process.stdin.close()

    def pour(stream, send) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(stream.fileno(), 65536):
                send(data)

    threads = [
        threading.Thread(target=pour, args=(process.stdout, channel.sendall), daemon=True),
        threading.Thread(target=pour, args=(process.stderr, channel.sendall_stderr), daemon=True),
    ]
    threading.Thread(target=feed, daemon=True).start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.suppress(OSError):
        code = process.wait()
        channel.send_exit_status(code if code >= 0 else 128 - code)
        channel.close()


class Server:
    """Accepts until closed; `forwarding` may be switched off."""

    def __init__(self, folder: Path) -> None:
        self.host_key = paramiko.Ed25519Key.from_private_key_file(_keygen(folder / "host"))
        self.user_key_file = Path(_keygen(folder / "user"))
        self.user_key = paramiko.Ed25519Key.from_private_key_file(str(self.user_key_file))
        self.forwarding = True
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        transport = paramiko.Transport(client)
        transport.add_server_key(self.host_key)
        session = _Session(self.user_key, self.forwarding)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=session)
            while transport.is_active():
                channel = transport.accept(1)
                if channel is not None and channel.get_id() in session.destinations:
                    target = session.destinations[channel.get_id()]
                    threading.Thread(target=_forward, args=(channel, target), daemon=True).start()

    def close(self) -> None:
        self.listener.close()


def _forward(channel: paramiko.Channel, target: tuple[str, int]) -> None:
    with socket.create_connection(target) as upstream:

        def up() -> None:
            with contextlib.suppress(OSError):
                while data := channel.recv(65536):
                    upstream.sendall(data)
                upstream.shutdown(socket.SHUT_WR)

        threading.Thread(target=up, daemon=True).start()
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                channel.sendall(data)
    channel.close()


def _keygen(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return str(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("sshd"))
    yield running
    running.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """No agent, no ~/.ssh of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def pin(tmp_path, server):
    """Write known_hosts; by default with the server's true key."""

    def write(key: paramiko.PKey | None = None) -> None:
        key = key or server.host_key
        line = f"[127.0.0.1]:{server.port} {key.get_name()} {key.get_base64()}\n"
        (tmp_path / "known_hosts").write_text(line)

    return write


@pytest.fixture
def make_cluster(tmp_path):
    def make(*hosts: Host) -> Cluster:
        return Cluster(
            name="test",
            path=tmp_path,
            source=tmp_path / "hosts.yml",
            hosts={host.name: host for host in hosts},
            master=hosts[0],
            workers=list(hosts),
        )

    return make


@pytest.fixture
def cluster(home, pin, server, make_cluster):
    """One host, pinned and ready."""
    pin()
    return make_cluster(
        Host("node1", "127.0.0.1", server.port, user="tester", key_file=server.user_key_file)
    )


@pytest.fixture
def ward(cluster, make_cluster):
    """Three hosts, all answered by the one server."""
    names = ("ward1", "ward2", "ward3")
    return make_cluster(
        *(replace(cluster.master, name=n, groups=frozenset({"all"})) for n in names)
    )


@pytest.fixture
def command(ward, monkeypatch):
    """Run a command of mammoctl on the three hosts."""

    def run(*words: str) -> Any:
        from mammoctl import inventory
        from mammoctl.cli import app

        monkeypatch.setattr(inventory, "load", lambda _: ward)
        return CliRunner().invoke(app, list(words))

    return run


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a shell script in front of the programs of the "hosts"."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)

    return write


@pytest.fixture
def sudo(program):
    """A sudo that lets everybody do everything, as who they are."""
    program("sudo", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
