"""The open connections to the nodes of a cluster: one per host, made when first needed."""

from __future__ import annotations

import getpass
import threading
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mammoctl import become, console
from mammoctl.inventory import Cluster, Host
from mammoctl.ssh import failures, streams
from mammoctl.ssh.commands import ENGLISH, Command, Sudo, command_line, needs_sudo, quoted
from mammoctl.ssh.config import CONNECT_TIMEOUT, ssh_config

if TYPE_CHECKING:
    import fabric
    import paramiko


class Connections(AbstractContextManager["Connections"]):
    """Connections with the cluster's pinned host keys, and what sudo asks on each host.

    A host is given by its name in the inventory or as `Host`. Safe to use from several threads.

    Args:
        cluster: whose hosts to reach.
        connect_s: seconds until a host that does not take the connection counts as unreachable.
        answer_s: seconds that its SSH server may take to greet and to let us in.

    Raises:
        ConnectionFailed: from every method, with the reason and the mend.
    """

    def __init__(
        self, cluster: Cluster, *, connect_s: float = CONNECT_TIMEOUT, answer_s: float = 15
    ) -> None:
        self.cluster = cluster
        self._waits = (connect_s, answer_s)
        self._connections: dict[str, fabric.Connection] = {}
        self._locks = {name: threading.Lock() for name in cluster.hosts}
        self._sudo_locks = {name: threading.Lock() for name in cluster.hosts}
        self._secrets: dict[str, bytes] = {}
        self._refused: dict[str, str] = {}
        self._config_lock = threading.Lock()
        self._config: Path | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self._stack.close()
        self._config = None

    @property
    def ssh_config(self) -> Path:
        """Path of the private ``ssh_config``, valid until `close`."""
        with self._config_lock:
            if self._config is None:
                self._config = self._stack.enter_context(ssh_config(self.cluster))
            return self._config

    def host(self, host: str | Host) -> Host:
        """Return the host of that name."""
        return host if isinstance(host, Host) else self.cluster.hosts[host]

    def login(self, host: str | Host) -> str:
        """Return the user that we are on a host."""
        return self.host(host).user or str(self._connection(self.host(host)).user)

    def _line(self, node: Host, command: Command, sudo: Sudo) -> str:
        return command_line(
            command,
            sudo=sudo,
            login=self.login(node) if sudo else None,
            sudo_exe=self._sudo_exe(node),
            password=bool(self.secret(node, sudo)),
        )

    def _sudo_exe(self, node: Host) -> str:
        return str(node.vars.get("ansible_become_exe") or "sudo")

    def secret(self, host: str | Host, sudo: Sudo) -> bytes:
        """Return what sudo on a host reads before the command does: a password, or nothing.

        A password is tried once, before anything depends on it: a command that keeps its input open
        would wait for ever with a wrong one, and every further try may lock the account.
        """
        node = self.host(host)
        if not sudo or not needs_sudo(sudo, self.login(node)) or self.login(node) == "root":
            return b""
        with self._sudo_locks[node.name]:
            if node.name not in self._secrets:
                known = become.password(node)
                asks = known is not None and self._sudo(node, "-n")[0] != 0
                self._secrets[node.name] = f"{known}\n".encode() if asks else b""
                if asks:
                    rc, said = self._sudo(node, "-S", "-p", "", given=self._secrets[node.name])
                    if rc:
                        said = failures.sudo_problem(said) or f"sudo ended with status {rc}"
                        self._refused[node.name] = said
            if why := self._refused.get(node.name):
                raise failures.sudo_refused(node, self.login(node), why)
            return self._secrets[node.name]

    def _sudo(self, node: Host, *options: str, given: bytes = b"") -> tuple[int, str]:
        """Become root for nothing; return the exit code and what sudo complained of."""
        line = quoted([*ENGLISH, self._sudo_exe(node), "-k", *options, "true"])
        with self._session(node, line) as channel:
            _stdout, stderr = streams.exchange(channel, given)
            return channel.recv_exit_status(), stderr

    def _open_channel(self, node: Host, command: Command, sudo: Sudo) -> paramiko.Channel:
        return self._session(node, self._line(node, command, sudo))

    def _session(self, node: Host, line: str) -> paramiko.Channel:
        connection = self._connection(node)
        try:
            channel: paramiko.Channel = connection.create_session()
            channel.exec_command(line)
        except Exception as exc:
            raise failures.explain(self.cluster, node, self.login(node), exc) from exc
        return channel

    def _connection(self, node: Host) -> fabric.Connection:
        with self._locks[node.name]:
            connection = self._connections.get(node.name)
            if connection is None or not connection.is_connected:
                connection = self._connect(node)
                self._connections[node.name] = connection
            return connection

    def _connect(self, node: Host) -> fabric.Connection:
        from mammoctl.ssh.connect import connect

        user = node.user or getpass.getuser()
        if node.key_file and not node.key_file.is_file():
            raise failures.key_missing(node)
        console.detail(f"{node.name}: connecting to {node.address}:{node.port}")
        try:
            return connect(self.cluster, node, self.ssh_config, *self._waits)
        except Exception as exc:
            raise failures.explain(self.cluster, node, user, exc) from exc
