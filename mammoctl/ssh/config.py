"""A private ``ssh_config`` made from the inventory, for every SSH client we start."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mammoctl.inventory import Cluster, Host

CONNECT_TIMEOUT = 10
"""Seconds until a host that does not answer counts as unreachable."""

# What the inventory may not change, and what is rendered from other variables.
_RENDERED = {
    "hostname", "port", "user", "identityfile", "userknownhostsfile", "globalknownhostsfile",
    "stricthostkeychecking", "controlmaster", "controlpath", "controlpersist", "batchmode",
}  # fmt: skip
_SOCKET_PATH_MAX = 104  # of a Unix socket on the strictest of the systems OpenSSH runs on


def render(cluster: Cluster, control_dir: Path) -> str:
    """Return the text of an ``ssh_config`` with one section per host of the cluster.

    The user's own ``~/.ssh/config`` is included last, so that it may add (a jump host, say) but
    not override.
    """
    sections = [
        _section(host, control_dir / str(number))
        for number, host in enumerate(cluster.hosts.values())
    ]
    common = [
        "Host *",
        "  BatchMode yes",
        "  StrictHostKeyChecking yes",
        f"  UserKnownHostsFile {_quoted(cluster.known_hosts)}",
        "  GlobalKnownHostsFile /dev/null",
        "  UpdateHostKeys no",
        f"  ConnectTimeout {CONNECT_TIMEOUT}",
        "  ServerAliveInterval 10",
        "  ServerAliveCountMax 6",
        "  ControlMaster auto",
        "  ControlPersist 60",
    ]
    own = Path.home() / ".ssh" / "config"
    included = [f"Include {_quoted(own)}"] if own.is_file() else []
    return "\n\n".join([*sections, "\n".join(common), *included]) + "\n"


def _section(host: Host, control: Path) -> str:
    # Of this host alone: several ssh that begin at once over one socket, as over a jump host's,
    # now and then end each other without a word. So a jump host has none.
    lines = [
        f"Host {host.name}" + (f" {host.address}" if host.address != host.name else ""),
        f"  HostName {host.address}",
        f"  Port {host.port}",
        f"  ControlPath {_quoted(control)}",
    ]
    if host.user:
        lines.append(f"  User {host.user}")
    if host.key_file:
        lines += [f"  IdentityFile {_quoted(host.key_file)}", "  IdentitiesOnly yes"]
    lines += [
        f"  {name} {value}"
        for name, value in host.ssh_options.items()
        if name.lower() not in _RENDERED
    ]
    return "\n".join(lines)


def _quoted(path: Path) -> str:
    text = str(path)
    return f'"{text}"' if " " in text else text


@contextmanager
def ssh_config(cluster: Cluster) -> Iterator[Path]:
    """Yield the path of a private ``ssh_config`` (0600, in a folder of its own, 0700).

    Connections made with it are shared (ControlMaster); the masters end with the context.
    """
    folder = Path(tempfile.mkdtemp(prefix="mammoctl-"))
    if len(str(folder)) + 1 + 4 + 18 > _SOCKET_PATH_MAX:  # a number, OpenSSH's temporary suffix
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="mammoctl-", dir="/tmp"))
    try:
        path = folder / "ssh_config"
        path.touch(mode=0o600)
        path.write_text(render(cluster, folder), encoding="utf-8")
        yield path
    finally:
        _end_masters(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_masters(folder: Path) -> None:
    for socket in folder.glob("*"):
        if socket.is_socket():
            argv = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "master"]
            subprocess.run(argv, capture_output=True, check=False, timeout=10)
