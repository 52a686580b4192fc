"""The three streams of a remote command on a paramiko channel."""

from __future__ import annotations

import io
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

CHUNK = 1 << 16


def exchange(channel: paramiko.Channel, data: bytes) -> tuple[str, str]:
    """Send ``data`` as standard input and return standard output and error, read to their ends.

    Raises:
        TimeoutError: the channel's timeout passed without any output.
    """
    errors = io.BytesIO()

    def send() -> None:
        with suppress(
            OSError, EOFError
        ):  # the command ended without reading it all; its status tells
            channel.sendall(data)
            channel.shutdown_write()

    def read_errors() -> None:
        with suppress(OSError):  # the main thread meets the same timeout or break
            while piece := channel.recv_stderr(CHUNK):
                errors.write(piece)

    # One thread per stream, so that a full one never blocks another.
    sender = threading.Thread(target=send, daemon=True)
    reader = threading.Thread(target=read_errors, daemon=True)
    sender.start()
    reader.start()
    out = io.BytesIO()
    while piece := channel.recv(CHUNK):
        out.write(piece)
    reader.join()
    return out.getvalue().decode(errors="replace"), errors.getvalue().decode(errors="replace")
