"""Connections to the nodes of a cluster.

Fabric and paramiko carry commands, small files and tunnels; OpenSSH's client carries bulk data,
which paramiko moves at a fraction of the speed.
"""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from mammoctl import become, console
from mammoctl.errors import MammoctlError
from mammoctl.inventory import Cluster, Host
from mammoctl.ssh import failures, streams, transfer, tunnels
from mammoctl.ssh.commands import (
    Command,
    Result,
    Sudo,
    command_line,
    failed,
    needs_sudo,
    quoted,
    shown,
    while_connected,
)
from mammoctl.ssh.config import CONNECT_TIMEOUT, ssh_config

if TYPE_CHECKING:
    import fabric
    import paramiko

T = TypeVar("T")


class Nodes(AbstractContextManager["Nodes"]):
    """Reach the hosts of a cluster; one connection per host, opened when first needed.

    A host is given by its name in the inventory or as `Host`. Safe to use from several threads.
    ``sudo=True`` becomes root, ``sudo="spark"`` that user; with the password that `mammoctl.become`
    knows where sudo asks for one, else without (``sudo -n``).

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
        self._secrets: dict[str, bytes] = {}
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

    # --- commands -----------------------------------------------------------------------------

    def run(
        self,
        host: str | Host,
        command: Command,
        *,
        sudo: Sudo = False,
        input: bytes | str | None = None,
        check: bool = True,
        timeout: float | None = None,
    ) -> Result:
        """Run a command on one host and wait for it.

        Args:
            host: its name, or itself.
            command: an argv (quoted for you), or a line for ``sh``.
            sudo: True for root, or the name of a user.
            input: what the command reads on its standard input; secrets go here, never in argv.
            check: raise `RemoteError` when the exit status is not 0.
            timeout: seconds without any output after which the host counts as unreachable.
        """
        node = self.host(host)
        began = time.monotonic()
        with self._open_channel(node, command, sudo) as channel:
            channel.settimeout(timeout)
            data = input.encode() if isinstance(input, str) else input or b""
            try:
                stdout, stderr = streams.exchange(channel, self.secret(node, sudo) + data)
            except TimeoutError:
                raise failures.unreachable(node, f"no output in {timeout:g} s") from None
            rc = channel.recv_exit_status()
        result = Result(node.name, shown(command), stdout, stderr, rc)
        if rc == -1:
            raise failures.unreachable(node, "the connection broke")
        seconds = time.monotonic() - began
        console.detail(f"{node.name}: {result.command}: exit code {rc}, {seconds:.1f} s")
        return self._checked(node, result, sudo, check=check)

    def run_all(
        self,
        command: Command | Mapping[str, Command],
        *,
        hosts: Iterable[str | Host] | None = None,
        sudo: Sudo = False,
        input: bytes | str | None = None,
        check: bool = True,
        timeout: float | None = None,
    ) -> dict[str, Result | MammoctlError]:
        """Run a command on every host (or on ``hosts``) at once and return every outcome."""

        def one(node: Host) -> Result:
            line = command[node.name] if isinstance(command, Mapping) else command
            return self.run(node, line, sudo=sudo, input=input, check=check, timeout=timeout)

        return self.each(one, hosts=hosts)

    def each(
        self, function: Callable[[Host], T], *, hosts: Iterable[str | Host] | None = None
    ) -> dict[str, T | MammoctlError]:
        """Call ``function`` for every host at once; a known error becomes that host's outcome."""
        chosen = [self.host(host) for host in hosts or self.cluster.hosts.values()]

        def outcome(node: Host) -> T | MammoctlError:
            try:
                return function(node)
            except MammoctlError as exc:
                return exc

        with ThreadPoolExecutor(max_workers=max(1, min(len(chosen), 32))) as pool:
            return dict(zip([n.name for n in chosen], pool.map(outcome, chosen), strict=True))

    def follow(self, host: str | Host, command: Command, *, sudo: Sudo = False) -> Iterator[str]:
        """Yield the lines of a long-running command as they come; ends with the command.

        The remote command is ended when the iterator is closed or the connection is lost.

        Raises:
            RemoteError: the command ended with another status than 0.
        """
        node = self.host(host)
        with self._open_channel(node, while_connected(command), sudo) as channel:
            channel.sendall(self.secret(node, sudo))
            rest = b""
            while data := channel.recv(streams.CHUNK):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace")
            if rest:
                yield rest.decode(errors="replace")
            rc = channel.recv_exit_status()
            stderr = channel.makefile_stderr("rb").read().decode(errors="replace")
        if rc == -1:
            raise failures.unreachable(node, "the connection broke")
        self._checked(node, Result(node.name, shown(command), "", stderr, rc), sudo, check=True)

    # --- files --------------------------------------------------------------------------------

    def put(
        self,
        host: str | Host,
        source: Path | bytes,
        target: str,
        *,
        sudo: Sudo = False,
        mode: int = 0o644,
        owner: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write a file on a host, whole or not at all (a temporary beside it, then a rename).

        Args:
            host: its name, or itself.
            source: a local file, or the content itself.
            target: absolute path on the host; its folder exists.
            sudo: True for root, or the name of a user.
            mode: permissions of the new file.
            owner: ``user:group``; needs sudo.
            progress: called with the number of bytes of each piece sent.
        """
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        line = transfer.write_command(target, size, mode, owner)
        if isinstance(source, bytes) and size <= transfer.SMALL:
            self.run(host, line, sudo=sudo, input=source)
        else:
            self.stream(host, line, source, sudo=sudo, progress=progress)

    def get(
        self,
        host: str | Host,
        source: str,
        target: Path,
        *,
        sudo: Sudo = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Fetch a file of a host into ``target``, whole or not at all."""
        self.fetch(host, ["cat", "--", source], target, sudo=sudo, progress=progress)

    def fetch(
        self,
        host: str | Host,
        command: Command,
        target: Path,
        *,
        sudo: Sudo = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write what a command prints into ``target``, whole or not at all."""
        part = target.with_name(f".{target.name}.part")
        try:
            with part.open("wb") as sink:
                self._copy(host, command, sink, sudo, progress)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def get_tree(
        self,
        host: str | Host,
        source: str,
        target: Path,
        *,
        sudo: Sudo = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Fetch a folder of a host into ``target`` (made when missing; nothing outside it)."""
        with transfer.unpacking(target) as sink:
            self._copy(host, ["tar", "-C", source, "-cf", "-", "."], sink, sudo, progress)

    def stream(
        self,
        host: str | Host,
        command: Command,
        source: Path | bytes | BinaryIO | Iterable[bytes],
        *,
        sudo: Sudo = False,
        check: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> Result:
        """Run a command with ``source`` as its standard input, through OpenSSH's fast client.

        A connection that breaks, or a ``source`` that fails, looks to the command like the end of
        its input: let it check how much it got before it puts anything in place.
        """
        node = self.host(host)
        argv = self.openssh(node, command, sudo)
        console.detail(f"{node.name}: {shown(command)}: fed through ssh")
        stdout, stderr, rc = transfer.feed(argv, source, progress, self.secret(node, sudo))
        if rc == transfer.SSH_FAILED:
            raise failures.explain_openssh(self.cluster, node, self.login(node), stderr)
        result = Result(node.name, shown(command), stdout, stderr, rc)
        return self._checked(node, result, sudo, check=check)

    def _copy(
        self,
        host: str | Host,
        command: Command,
        sink: Any,
        sudo: Sudo,
        progress: Callable[[int], None] | None,
    ) -> None:
        node = self.host(host)
        argv = self.openssh(node, command, sudo)
        console.detail(f"{node.name}: {shown(command)}: read through ssh")
        stderr, rc = transfer.drain(argv, sink, progress, self.secret(node, sudo))
        if rc == transfer.SSH_FAILED:
            raise failures.explain_openssh(self.cluster, node, self.login(node), stderr)
        self._checked(node, Result(node.name, shown(command), "", stderr, rc), sudo, check=True)

    def openssh(
        self, host: str | Host, command: Command, sudo: Sudo = False, options: Sequence[str] = ()
    ) -> list[str]:
        """Return the argv of OpenSSH's client that runs a command; valid until `close`.

        What `secret` returns must be the first of its input.
        """
        node = self.host(host)
        line = self._line(node, command, sudo)
        return ["ssh", "-T", "-F", str(self.ssh_config), *options, node.name, line]

    # --- network ------------------------------------------------------------------------------

    def tunnel(
        self, host: str | Host, address: str, port: int
    ) -> AbstractContextManager[tuple[str, int]]:
        """Open a port on our loopback that leads to ``address:port`` as ``host`` sees it.

        Returns:
            A context manager that yields the local ``("127.0.0.1", port)``.
        """
        node = self.host(host)
        return tunnels.tunnel(lambda peer: self._direct(node, address, port, peer))

    def http_json(self, host: str | Host, url: str, *, timeout: float = 15) -> Any:
        """Fetch a JSON document over HTTP from where ``host`` stands.

        Raises:
            RemoteError: nothing answers there, or not with JSON.
        """
        node = self.host(host)
        return tunnels.http_json(
            node, url, lambda address, port: self._direct(node, address, port, ("", 0)), timeout
        )

    def _direct(
        self, node: Host, address: str, port: int, peer: tuple[str, int]
    ) -> paramiko.Channel:
        transport: paramiko.Transport = self._connection(node).client.get_transport()
        return transport.open_channel("direct-tcpip", (address, port), peer, timeout=15)

    # --- connections --------------------------------------------------------------------------

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
        """Return what sudo on a host reads before the command does: a password, or nothing."""
        node = self.host(host)
        if not sudo or not needs_sudo(sudo, self.login(node)) or self.login(node) == "root":
            return b""
        if node.name not in self._secrets:
            known = become.password(node)
            asks = known is not None and not self._is_password_free(node)
            self._secrets[node.name] = f"{known}\n".encode() if asks else b""
        return self._secrets[node.name]

    def _is_password_free(self, node: Host) -> bool:
        with self._session(node, quoted([self._sudo_exe(node), "-k", "-n", "true"])) as channel:
            streams.exchange(channel, b"")
            return channel.recv_exit_status() == 0

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

    def _checked(self, node: Host, result: Result, sudo: Sudo, *, check: bool) -> Result:
        if result.rc and sudo and (why := failures.sudo_problem(result.stderr)):
            raise failures.sudo_refused(node, self.login(node), why)
        if result.rc and check:
            raise failed(result)
        return result

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
