"""Ports and pages of a node, reached through its SSH connection."""

from __future__ import annotations

import http.client
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from mammoctl.errors import RemoteError
from mammoctl.inventory import Host

if TYPE_CHECKING:
    import paramiko

_CHUNK = 1 << 16


@contextmanager
def tunnel(
    open_channel: Callable[[tuple[str, int]], paramiko.Channel],
) -> Iterator[tuple[str, int]]:
    """Listen on a free loopback port; every connection to it gets a channel of its own."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                client, peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client, peer), daemon=True).start()

    def serve(client: socket.socket, peer: tuple[str, int]) -> None:
        # A refused channel shows to the client as a closed connection, as a refused port would.
        with closing(client), suppress(Exception), closing(open_channel(peer)) as channel:
            _pump(client, channel)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[:2]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _pump(client: socket.socket, channel: paramiko.Channel) -> None:
    """Carry bytes both ways until both sides have ended, or one of them broke."""
    ends: dict[Any, Any] = {client: channel, channel: client}
    while ends:
        ready, _, _ = select.select(list(ends), [], [])
        for source in ready:
            data = source.recv(_CHUNK)
            target = client if source is channel else channel
            if data:
                target.sendall(data)
                continue
            del ends[source]
            if target is channel:
                channel.shutdown_write()
            else:
                client.shutdown(socket.SHUT_WR)


class _Socket:
    """A channel as http.client expects a socket: closing it must not cut off unread answers."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.sendall = channel.sendall
        self.makefile = channel.makefile

    def close(self) -> None:
        """Leave the channel to its owner."""


def http_json(
    node: Host, url: str, open_channel: Callable[[str, int], paramiko.Channel], timeout: float
) -> Any:
    """Fetch ``url`` (plain http) through a channel and parse the JSON; ``timeout`` in seconds."""
    import paramiko

    parts = urlsplit(url)
    address, port = parts.hostname or "127.0.0.1", parts.port or 80
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        with closing(open_channel(address, port)) as channel:
            channel.settimeout(timeout)
            request = http.client.HTTPConnection(address, port)
            request.sock = cast("socket.socket", _Socket(channel))
            request.request("GET", path, headers={"Accept": "application/json"})
            response = request.getresponse()
            body = response.read()
    except paramiko.ChannelException as exc:
        if exc.code == 1:
            raise RemoteError(
                f"the SSH server of {node.name} forbids forwarding",
                hint="set `AllowTcpForwarding yes` (or `local`) for this user in its sshd_config",
            ) from exc
        raise RemoteError(
            f"nothing answers at {url} on {node.name}",
            hint="is the service running? `mammoctl verify` tells",
        ) from exc
    except (OSError, http.client.HTTPException, paramiko.SSHException) as exc:
        raise RemoteError(
            f"no answer from {url} on {node.name}: {exc or type(exc).__name__}",
            hint="look at the service's log on that node (journalctl -u)",
        ) from exc
    if response.status != 200:
        raise RemoteError(f"{url} on {node.name} answers {response.status} {response.reason}")
    try:
        return json.loads(body)
    except ValueError as exc:
        raise RemoteError(f"{url} on {node.name} does not answer with JSON") from exc
