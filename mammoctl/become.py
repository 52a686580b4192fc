"""The password for sudo, for hosts that ask for one: from the inventory, or asked for once.

It is never an argument, never in the environment and never in a file that mammoctl makes. What is
typed lies in memory that has no name in any file system; Ansible and the checks inherit it, and
find it where Ansible's own variable for a file with that password says.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from mammoctl.errors import UsageError
from mammoctl.inventory import Cluster, Host

VARIABLE = "ANSIBLE_BECOME_PASSWORD_FILE"
_KEYS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
_asked: list[int] = []


def ask() -> None:
    """Ask for the password on the terminal, for this command and the programs that it starts.

    Raises:
        UsageError: there is no terminal to ask on.
    """
    try:
        secret = getpass.getpass("password for sudo on the hosts: ")
    except EOFError as exc:
        raise UsageError(
            "no password for sudo was given", hint=f"type it, or name a file in {VARIABLE}"
        ) from exc
    remember(secret)


def remember(secret: str) -> None:
    """Keep the password for this command and the programs that it starts."""
    number = os.memfd_create("mammoctl")
    os.fchmod(number, 0o600)  # Ansible runs a file that is executable
    os.write(number, secret.encode())
    _asked.append(number)
    os.environ[VARIABLE] = f"/dev/fd/{number}"


def inherited() -> tuple[int, ...]:
    """Return the descriptors that a started program must inherit, for it to find the password."""
    return tuple(_asked)


def password(host: Host) -> str | None:
    """Return the password of a host, or None when none is known.

    As for Ansible, the host's own variable counts before the one password for all.

    Raises:
        UsageError: the file that the environment names cannot be read.
    """
    for key in _KEYS:
        if (value := host.vars.get(key)) not in (None, ""):
            return str(value)
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    path = Path(named).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except OSError as exc:
        raise UsageError(
            f"the file with the password for sudo cannot be read: {path}: {exc.strerror}",
            hint=f"correct {VARIABLE}, or use --ask-become-pass",
        ) from exc


def asking(cluster: Cluster) -> set[str]:
    """Return the hosts whose plain ``sudo`` gets a password (not those that name another one)."""
    return {
        host.name
        for host in cluster.hosts.values()
        if password(host) and not host.vars.get("ansible_become_exe")
    }
