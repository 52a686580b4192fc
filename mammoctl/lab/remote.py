"""Reaching the lab's nodes: only over SSH, like real ones."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mammoctl.errors import LabError
from mammoctl.lab import node
from mammoctl.lab.state import LabState, NodeState

_UNREACHABLE = 255


def credentials(state: LabState) -> Path:
    """Return a folder with a private key that this user can read, and known_hosts.

    Raises:
        LabError: there is none.
    """
    for folder in (state.dir, *(Path(path) for path in state.inventories)):
        if os.access(folder / "id_ed25519", os.R_OK):
            return folder
    raise LabError(f"the key of the lab {state.name!r} cannot be read", hint="use sudo")


def ssh_argv(folder: Path, one: NodeState, command: str) -> list[str]:
    """Return the ssh command that runs a shell line on the node.

    Args:
        folder: folder with ``id_ed25519`` and ``known_hosts``.
        one: the node.
        command: the shell line.
    """
    options = (
        "BatchMode=yes",
        "ConnectTimeout=5",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={folder / 'known_hosts'}",
        "GlobalKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    )
    words = ["ssh", "-F", "none", "-i", str(folder / "id_ed25519")]
    for option in options:
        words += ["-o", option]
    return [*words, f"admin@{one.address}", "--", command]


def answers(one: NodeState, timeout: float = 1) -> bool:
    """Tell whether the node's sshd answers."""
    try:
        with socket.create_connection((one.address, 22), timeout=timeout) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_until_ready(state: LabState, one: NodeState, timeout: float) -> str:
    """Wait until the node has booted and the user can log in over SSH.

    Args:
        state: the lab.
        one: a node that was started.
        timeout: seconds.

    Returns:
        The system's own state: ``running``, or ``degraded`` when a unit failed.

    Raises:
        LabError: it did not come up; the last lines of its console are in the details.
    """
    deadline = time.monotonic() + timeout
    command = ssh_argv(state.dir, one, "systemctl is-system-running --wait")
    said = f"sshd does not answer within {timeout:.0f} s"
    while time.monotonic() < deadline and not node.cancelled.is_set():
        if node.supervisor_pid(state, one) is None:
            said = "it switched itself off"
            break
        if not answers(one):
            node.cancelled.wait(0.1)
            continue
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=max(1.0, deadline - time.monotonic()),
            )
        except subprocess.TimeoutExpired:
            said = f"its units are not ready after {timeout:.0f} s"
            break
        if done.returncode != _UNREACHABLE and done.stdout.strip() in ("running", "degraded"):
            return done.stdout.strip()
        said = (done.stderr or done.stdout).strip()
        node.cancelled.wait(0.2)
    raise LabError(
        f"node {one.name} did not come up",
        details=[*node.console_tail(state, one), *said.splitlines()[-1:]],
        hint=f"its console: {state.node_dir(one) / 'console.log'}; `mammoctl lab up` tries again",
    )


@dataclass(frozen=True)
class Outcome:
    """What a command on one node said and its exit code (255: the node was not reached)."""

    node: str
    code: int
    stdout: str
    stderr: str


def run_on(state: LabState, nodes: Sequence[NodeState], command: str) -> list[Outcome]:
    """Run a shell line on several nodes at once; every node has an outcome."""
    folder = credentials(state)

    def one_node(one: NodeState) -> Outcome:
        done = subprocess.run(
            ssh_argv(folder, one, command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        return Outcome(one.name, done.returncode, done.stdout, done.stderr)

    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        return list(pool.map(one_node, nodes))


def run_through(state: LabState, one: NodeState, command: str) -> int:
    """Run a shell line on one node with this process's own input and output."""
    return subprocess.run(ssh_argv(credentials(state), one, command), check=False).returncode
