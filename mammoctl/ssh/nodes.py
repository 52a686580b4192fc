"""Connections to the nodes of a cluster.

Fabric and paramiko carry commands, small files and tunnels; OpenSSH's client carries bulk data,
which paramiko moves at a fraction of the speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from mammoctl import console
from mammoctl.errors import MammoctlError
from mammoctl.inventory import Host
from mammoctl.ssh import failures, streams, transfer, tunnels
from mammoctl.ssh.commands import (
    Command,
    Result,
    Sudo,
    failed,
    shown,
    while_connected,
)
from mammoctl.ssh.connections import Connections

if TYPE_CHECKING:
    import paramiko

T = TypeVar("T")


class Nodes(Connections):
    """Reach the hosts of a cluster: commands, files, what listens there (see `Connections`).

    ``sudo=True`` becomes root, ``sudo="spark"`` that user; with the password that `mammoctl.become`
    knows where sudo asks for one, else without (``sudo -n``).
    """

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
        console.detail(f"{node.name}: {shown(command)}: followed")
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
        console.detail(f"{node.name}: {shown(command)}: through ssh")
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

    def _checked(self, node: Host, result: Result, sudo: Sudo, *, check: bool) -> Result:
        if result.rc and sudo and (why := failures.sudo_problem(result.stderr)):
            raise failures.sudo_refused(node, self.login(node), why)
        if result.rc and check:
            raise failed(result)
        return result
