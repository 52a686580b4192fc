"""A session on a node with this terminal: OpenSSH's client, as a user would start it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mammoctl.ssh.commands import Command, quoted
from mammoctl.ssh.transfer import SSH_FAILED

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes


def argv(nodes: Nodes, name: str, command: Command | None) -> list[str]:
    """Return the argv of the client.

    Args:
        nodes: whose ``ssh_config`` counts.
        name: of the node.
        command: what to run there; None for the login shell.
    """
    line = ["ssh", "-F", str(nodes.ssh_config)]
    # A person is there to be asked for the passphrase of a key; no connection is left behind.
    line += ["-o", "BatchMode=no", "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    if command is None:
        return [*line, name]
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    words = ["sh", "-c", command] if isinstance(command, str) else list(command)
    return [*line, *terminal, name, quoted(words)]


def run(nodes: Nodes, name: str, command: Command | None = None) -> int:
    """Open the session and return its exit code when it has ended.

    Raises:
        ConnectionFailed: the node cannot be reached, and why.
    """
    with _ctrl_c_for_the_client():
        code = subprocess.run(argv(nodes, name, command), check=False).returncode
    if code == SSH_FAILED:
        nodes.run(name, ["true"])  # raises what explains it; else 255 was the command's own
    return code if code >= 0 else 128 - code


@contextmanager
def _ctrl_c_for_the_client() -> Iterator[None]:
    """Leave Ctrl-C to the client; it would inherit a signal that is ignored, not one handled."""
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
