"""One Fabric connection with the cluster's pinned host keys (Fabric itself would accept any)."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import fabric
import paramiko

from mammoctl.inventory import Cluster, Host
from mammoctl.ssh.config import CONNECT_TIMEOUT
from mammoctl.ssh.failures import UnknownHostKey

# What goes wrong arrives as an exception; paramiko would print its traceback as well.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(
        self, _client: paramiko.SSHClient, _hostname: str, key: paramiko.PKey
    ) -> None:
        raise UnknownHostKey(key)


def connect(cluster: Cluster, node: Host, config_file: Path) -> fabric.Connection:
    """Return an open connection; exceptions are those of paramiko and of sockets."""
    text = config_file.read_text(encoding="utf-8")
    own = Path.home() / ".ssh" / "config"
    if own.is_file():  # paramiko does not follow the rendered file's Include
        text += own.read_text(encoding="utf-8")
    settings = paramiko.SSHConfig()
    settings.parse(io.StringIO(text))
    connection = fabric.Connection(
        node.name,
        config=fabric.Config(ssh_config=settings),
        connect_timeout=CONNECT_TIMEOUT,
        connect_kwargs={
            "banner_timeout": 15,
            "auth_timeout": 15,
            "look_for_keys": node.key_file is None,
        },
    )
    hop = connection
    while isinstance(hop, fabric.Connection):
        _pin(hop.client, cluster.known_hosts)
        hop = hop.gateway
    connection.open()
    connection.client.get_transport().set_keepalive(10)
    return connection


def _pin(client: paramiko.SSHClient, known_hosts: Path) -> None:
    client.set_missing_host_key_policy(_Refuse())
    if known_hosts.is_file():
        client.load_system_host_keys(str(known_hosts))  # read only: never written back
