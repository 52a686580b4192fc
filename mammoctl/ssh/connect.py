"""One Fabric connection with the cluster's pinned host keys (Fabric itself would accept any)."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import fabric
import paramiko

from mammoctl.inventory import Cluster, Host
from mammoctl.ssh.config import CONNECT_TIMEOUT
from mammoctl.ssh.failures import JumpFailed, UnknownHostKey

# What goes wrong arrives as an exception; paramiko would print its traceback as well.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(
        self, _client: paramiko.SSHClient, _hostname: str, key: paramiko.PKey
    ) -> None:
        raise UnknownHostKey(key)


def connect(
    cluster: Cluster,
    node: Host,
    config_file: Path,
    connect_s: float = CONNECT_TIMEOUT,
    answer_s: float = 15,
) -> fabric.Connection:
    """Return an open connection; exceptions are those of paramiko and of sockets.

    Args:
        cluster: whose pinned host keys count.
        node: where to.
        config_file: the private ``ssh_config``.
        connect_s: seconds for the connection.
        answer_s: seconds for the server's greeting, and again for letting us in.
    """
    text = config_file.read_text(encoding="utf-8")
    own = Path.home() / ".ssh" / "config"
    if own.is_file():  # paramiko does not follow the rendered file's Include
        text += own.read_text(encoding="utf-8")
    settings = paramiko.SSHConfig()
    settings.parse(io.StringIO(text))
    connection = fabric.Connection(
        node.name,
        config=fabric.Config(ssh_config=settings),
        connect_kwargs={
            "banner_timeout": answer_s,
            "auth_timeout": answer_s,
            "look_for_keys": node.key_file is None,
        },
    )
    hops = [connection]
    while isinstance(hops[-1].gateway, fabric.Connection):
        hops.append(hops[-1].gateway)
    for hop in reversed(hops):
        hop.connect_timeout = connect_s  # as an argument it would be cut to whole seconds
        _pin(hop.client, cluster.known_hosts)
        try:
            hop.open()
        except Exception as exc:
            if hop is connection:
                raise
            raise JumpFailed(str(hop.host), int(hop.port or 22), str(hop.user)) from exc
    connection.client.get_transport().set_keepalive(10)
    return connection


def _pin(client: paramiko.SSHClient, known_hosts: Path) -> None:
    client.set_missing_host_key_policy(_Refuse())
    if known_hosts.is_file():
        client.load_system_host_keys(str(known_hosts))  # read only: never written back
