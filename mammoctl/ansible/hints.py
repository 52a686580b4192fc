"""Known ways for a playbook to fail, and what mends each."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KNOWN = [
    (
        r"Could not get lock|dpkg frontend lock|lock-frontend|unable to acquire the dpkg"
        r"|another package manager works",
        "another package manager runs on that host (unattended-upgrades?): wait until it has "
        "ended, then run the same command again",
    ),
    (
        r"dpkg was interrupted",
        "on that host: sudo dpkg --configure -a; then run the same command again",
    ),
    (
        r"No space left on device|not have enough free space",
        "free some disk space on that host (df -h; apt-get clean), then run the same command again",
    ),
    (
        r"Unable to locate package|No package matching|has no installation candidate",
        "the host's package lists lack it: check /etc/apt/sources.list there and its network or "
        "mirror (sudo apt-get update)",
    ),
    (
        r"Failed to fetch|Temporary failure resolving|Could not resolve|Failed to update apt cache",
        "the host cannot reach its package mirror: check its network, DNS and proxy "
        "(/etc/apt/apt.conf.d)",
    ),
    (
        r"waiting for (privilege escalation|become) prompt",
        "allow the login password-free sudo on that host; if its sudo is sudo-rs (Ubuntu 25.10 and "
        "later) and must ask, set `ansible_become_exe: sudo.ws` for it in the inventory",
    ),
    (
        r"Incorrect sudo password",
        "the password for sudo is not the right one there: give it again (`mammoctl -K ...`), or "
        "correct `ansible_become_password`",
    ),
    (
        r"[Mm]issing sudo password|a password is required|not in the sudoers|privilege escalation",
        "give the password for sudo (`mammoctl -K ...`), allow the login password-free sudo on "
        "that host, or log in as root (`ansible_user`)",
    ),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "compare the host's key out of band, then renew its line in the inventory's known_hosts",
    ),
    (
        r"Permission denied \(|Invalid/incorrect username/password",
        "check `ansible_user` and `ansible_ssh_private_key_file` in the inventory",
    ),
    (
        r"Connection timed out|No route to host|Connection refused|Could not resolve hostname"
        r"|Connection closed|Broken pipe",
        "check that the host is up and reachable; then run the same command again",
    ),
    (
        r"/usr/bin/python3?: not found|python3?: No such file|interpreter .* not found",
        "install python3 on that host, or set `ansible_python_interpreter` in the inventory",
    ),
    (
        r"[Cc]hecksum|hashes? (do|does) not match|HASH",
        "a file arrived damaged or is not the pinned one: run the same command again; if it "
        "persists, check the files here: mammoctl bundle verify",
    ),
    (
        r"Out of memory|Cannot allocate memory|MemoryError|oom-kill",
        "the host has too little memory: see `Memory of a node` in docs/roles.md",
    ),
    (
        r"is undefined|undefined variable",
        "a variable that the playbook needs is missing: docs/roles.md lists all of them",
    ),
]


def hint_for(messages: Iterable[str]) -> str:
    """Return what mends the first known failure among ``messages``, or an empty string."""
    for message in messages:
        for pattern, hint in _KNOWN:
            if re.search(pattern, message):
                return hint
    return ""
