"""JupyterLab on the master: a service of its own that listens on the master's loopback alone."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mammoctl import inventory as inventories
from mammoctl.errors import RemoteError, UsageError
from mammoctl.jobs import driver
from mammoctl.jobs.account import account, scratch

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes

UNIT = "mammoctl-notebook.service"
FOLDER = "/var/lib/mammoctl/notebooks"
"""On the master; belongs to the account that jobs run as, and outlives the service."""

_RUNTIME = f"{FOLDER}/.runtime"
_SECRET = "/run/mammoctl-notebook"  # noqa: S105  a path
_IDLE_S = 24 * 3600
_WAIT_S = 90.0


@dataclass(frozen=True)
class Server:
    """A notebook server that runs: its port on the master's loopback, and who may use it.

    ``own`` tells whether this call has started it.
    """

    port: int
    token: str = field(repr=False)
    own: bool = False


def running(nodes: Nodes) -> Server | None:
    """Return the server that runs on the master, if any does."""
    if not _is_active(nodes):
        return None
    line = f"cat {_RUNTIME}/jpserver-*.json"
    found = nodes.run(nodes.cluster.master, line, sudo=account(nodes), check=False)
    if found.rc:
        return None  # it has not come as far as that
    try:
        document = json.loads(found.stdout)
    except ValueError:
        return None  # it is being written
    return Server(int(document["port"]), str(document["token"]))


def start(nodes: Nodes, deployment: ClusterFile) -> Server:
    """Start the server, or return the one that runs already.

    Raises:
        UsageError: JupyterLab is not part of the cluster's environment.
        RemoteError: it does not start.
    """
    if there := running(nodes):
        return there
    _require(nodes, deployment)
    own = not _is_active(nodes)
    if own:
        user = account(nodes)
        line = (
            f"install -d -m 0755 /var/lib/mammoctl && "
            f"install -d -o {user} -g {user} -m 0700 {FOLDER} {_RUNTIME} && "
            f"rm -f {_RUNTIME}/jpserver-*"
        )
        nodes.run(nodes.cluster.master, line, sudo=True)
        token = f"JUPYTER_TOKEN={secrets.token_urlsafe(32)}\n"
        nodes.put(nodes.cluster.master, token.encode(), _SECRET, sudo=True, mode=0o600)
    try:
        if own:
            nodes.run(nodes.cluster.master, unit_argv(deployment, user, scratch(nodes)), sudo=True)
        return replace(_await(nodes), own=own)
    except KeyboardInterrupt:
        if own:
            stop(nodes)  # the next call would take it for another one's
        raise


def stop(nodes: Nodes) -> bool:
    """End the server with its kernels; notebooks stay. Return whether one ran."""
    there = _is_active(nodes)
    line = f"systemctl stop {UNIT} 2>/dev/null; rm -f {_SECRET} {_RUNTIME}/jpserver-*"
    nodes.run(nodes.cluster.master, line, sudo=True)
    return there


def unit_argv(deployment: ClusterFile, user: str, scratch_folder: str) -> list[str]:
    """Return the command line, run by root on the master, that starts the server.

    Args:
        deployment: the cluster.
        user: the account that it runs as, as jobs do.
        scratch_folder: where Spark's scratch files lie.
    """
    site = f"{deployment.python.rpartition('/bin/')[0]}/lib/python{deployment.python_version}"
    site += "/site-packages"
    env = driver.environment(deployment, FOLDER) | {
        "JUPYTER_RUNTIME_DIR": _RUNTIME,
        # The environment is installed as a folder of packages: their data lies in it, too.
        "JUPYTERLAB_DIR": f"{site}/share/jupyter/lab",
        "JUPYTER_PATH": f"{site}/share/jupyter",
        "JUPYTER_CONFIG_PATH": f"{site}/etc/jupyter",
    }
    properties = {
        "Type": "exec",
        "WorkingDirectory": FOLDER,
        "EnvironmentFile": _SECRET,
        "TimeoutStopSec": "20",
        **driver.sandbox(deployment, FOLDER, scratch_folder),
    }
    return [
        *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}"),
        *(f"--uid={user}", f"--gid={user}", "--description=JupyterLab of mammoctl notebook"),
        *(f"--property={name}={value}" for name, value in properties.items()),
        *(f"--setenv={name}={value}" for name, value in env.items()),
        *("--", deployment.python, "-m", "jupyterlab", "--no-browser"),
        *("--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={FOLDER}"),
        f"--ServerApp.shutdown_no_activity_timeout={_IDLE_S}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def _is_active(nodes: Nodes) -> bool:
    asked = nodes.run(nodes.cluster.master, ["systemctl", "is-active", UNIT], check=False)
    return asked.stdout.strip() in ("active", "activating")


def _require(nodes: Nodes, deployment: ClusterFile) -> None:
    argv = [deployment.python, "-c", "import jupyterlab, ipykernel"]
    if nodes.run(nodes.cluster.master, argv, check=False).rc:
        named = inventories.selector(nodes.cluster.source)
        raise UsageError(
            f"JupyterLab is not part of the Python environment of {nodes.cluster.name}",
            hint='add "jupyterlab" to python_extra_packages in group_vars/all.yml of the '
            f"inventory, then: mammoctl bundle lock -i {named}, mammoctl provision",
        )


def _await(nodes: Nodes) -> Server:
    deadline = time.monotonic() + _WAIT_S
    while _is_active(nodes) and time.monotonic() < deadline:
        if there := running(nodes):
            return there
        time.sleep(0.5)
    master = nodes.cluster.master
    journal = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=5", f"--unit={UNIT}"]
    said = nodes.run(master, journal, sudo=True, check=False).stdout.strip().splitlines()
    raise RemoteError(
        f"the notebook server does not start on {master.name}",
        details=said,
        hint=f"mammoctl logs -u {UNIT} {master.name}",
    )
