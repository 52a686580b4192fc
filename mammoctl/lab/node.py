"""Start, watch and stop one node."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from mammoctl import files
from mammoctl.errors import LabError
from mammoctl.lab import cgroups, image, limits, network, rootfs
from mammoctl.lab.state import LabState, NodeState

_ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    "SYSTEMD_NSPAWN_LOCK": "0",  # the supervisor's lock does it, and goes with the lab
    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",  # /tmp on disk, as on a server, and not in the node's memory
}

# For programs that make interfaces (wireguard-go); a kernel may be without it.
_TUN = Path("/dev/net/tun")

# Set when the user interrupts: whoever waits for a node stops waiting.
cancelled = threading.Event()


def machine(state: LabState, node: NodeState) -> str:
    """Return the node's name among all machines of the control machine."""
    return f"mammoctl-{state.name}-{node.name}"


def argv(state: LabState, node: NodeState) -> list[str]:
    """Return the systemd-nspawn command that boots the node."""
    folder = state.node_dir(node)
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        f"--machine={machine(state, node)}",
        f"--hostname={node.name}",
        f"--directory={rootfs.root(state, node)}",
        f"--network-namespace-path={network.netns(state, node)}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=read-only",
        "--capability=CAP_NET_ADMIN",  # nft, ip and tunnels inside the node
        *([f"--bind={_TUN}"] if _TUN.exists() else []),
        f"--bind={folder / 'view'}:/run/mammoctl-view",
    ]


def supervisor_pid(state: LabState, node: NodeState) -> int | None:
    """Return the process that keeps the node running, or nothing when the node is off."""
    path = state.node_dir(node) / "supervisor"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = path.read_text()
        return int(text) if text else -1
    finally:
        os.close(fd)
    return None


def start(state: LabState, node: NodeState) -> None:
    """Boot the node, unless it is running; returns at once."""
    folder = state.node_dir(node)
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / "supervisor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _start(state, node, fd)
    except BlockingIOError:
        return
    finally:
        os.close(fd)


def _start(state: LabState, node: NodeState, lock_fd: int) -> None:
    folder = state.node_dir(node)
    group = cgroups.group(state.cgroup, node.name)
    group.kill()
    group.end_scope()
    rootfs.mount(state, node)
    if not group.scope:
        group.create(node.memory_mb, node.cpus, node.cores)
    (folder / "view").mkdir(exist_ok=True)
    run = {
        "argv": argv(state, node),
        "memory_mb": node.memory_mb,
        "visible_cores": limits.visible_cores(node.cpus),
        "cgroup": [str(path) for path in group.folders],
        "unified": group.unified,
        "scope": group.scope,
        "cpus": node.cpus,
        "cores": node.cores,
    }
    files.write(folder / "run.json", json.dumps(run, indent=2) + "\n")
    unified = {"UNIFIED_CGROUP_HIERARCHY": "1"} if image.find(node.image).unified else {}
    with (folder / "console.log").open("ab") as log:
        process = subprocess.Popen(
            [*group.launcher(), sys.executable, "-m", "mammoctl.lab.supervise", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, **_ENVIRONMENT, **unified},
            start_new_session=True,
            pass_fds=(lock_fd,),  # the supervisor holds the lock on from here
        )
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, str(process.pid).encode(), 0)


def console_tail(state: LabState, node: NodeState, lines: int = 12) -> list[str]:
    """Return the last lines that the node wrote on its console."""
    try:
        text = (state.node_dir(node) / "console.log").read_text(errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def request_stop(state: LabState, node: NodeState) -> None:
    """Ask the node to shut down; returns at once."""
    pid = supervisor_pid(state, node)
    if pid is not None and pid > 0:
        os.kill(pid, signal.SIGTERM)


def wait_until_stopped(state: LabState, node: NodeState, timeout: float = 75) -> None:
    """Wait until the node is off.

    Raises:
        LabError: it is still running after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while supervisor_pid(state, node) is not None and not cancelled.is_set():
        if time.monotonic() > deadline:
            raise LabError(
                f"node {node.name} does not shut down", hint=f"mammoctl lab stop --kill {node.name}"
            )
        time.sleep(0.05)


def kill(state: LabState, node: NodeState) -> None:
    """Switch the node off like pulling its plug."""
    group = cgroups.group(state.cgroup, node.name)
    patience = time.monotonic() + 3
    while (pid := supervisor_pid(state, node)) is not None:
        group.kill()  # the supervisor sees it, and goes
        if pid > 0 and time.monotonic() > patience:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    group.kill()
