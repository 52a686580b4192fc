"""Say why a connection failed and what to do about it."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from mammoctl.errors import ConnectionFailed, NoRoot
from mammoctl.inventory import Cluster, Host

if TYPE_CHECKING:
    import paramiko


class UnknownHostKey(Exception):
    """The host shows a key, and known_hosts has none for it."""

    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__("host key unknown")
        self.key = key


class JumpFailed(Exception):
    """A jump host on the way cannot be passed; the cause is that of the jump."""

    def __init__(self, address: str, port: int, user: str) -> None:
        super().__init__(f"jump host {address}")
        self.jump = Host(f"the jump host {address}", address, port, user)


def _where(host: Host) -> str:
    return f"{host.name} ({host.address} port {host.port})"


def _known_hosts_name(host: Host) -> str:
    return host.address if host.port == 22 else f"[{host.address}]:{host.port}"


def unreachable(host: Host, reason: str) -> ConnectionFailed:
    """No answer at all: powered off, other network, or dropped by a packet filter."""
    return ConnectionFailed(
        f"{_where(host)} does not answer: {reason}",
        hint="is it powered on and on this network? check `ansible_host` and `ansible_port` "
        f"in the inventory; try: ping {host.address}",
    )


def refused(host: Host) -> ConnectionFailed:
    """The host answers and nothing listens on its SSH port."""
    return ConnectionFailed(
        f"{_where(host)} refuses connections",
        hint="no SSH server listens there: install or start openssh-server, or correct "
        "`ansible_port` in the inventory",
    )


def unresolved(host: Host) -> ConnectionFailed:
    """The address in the inventory is a name that nobody knows."""
    return ConnectionFailed(
        f"the name of {host.name} does not resolve: {host.address}",
        hint="write its IP address as `ansible_host` in the inventory",
    )


def denied(host: Host, user: str) -> ConnectionFailed:
    """The SSH server does not accept the login."""
    key = f"the key {host.key_file}" if host.key_file else "your SSH keys and agent"
    copy = f"ssh-copy-id -i {host.key_file} " if host.key_file else "ssh-copy-id "
    port = "" if host.port == 22 else f"-p {host.port} "
    return ConnectionFailed(
        f"{_where(host)} does not let in user {user} with {key}",
        hint="correct `ansible_user` or `ansible_ssh_private_key_file` in the inventory, "
        f"or authorise the key: {copy}{port}{user}@{host.address}",
    )


def key_missing(host: Host) -> ConnectionFailed:
    """The private key of the inventory is not there or not readable."""
    return ConnectionFailed(
        f"the SSH key for {host.name} cannot be read: {host.key_file}",
        hint="correct `ansible_ssh_private_key_file` in the inventory",
    )


def key_changed(cluster: Cluster, host: Host, expected: str, seen: str) -> ConnectionFailed:
    """Another host key than the pinned one: reinstalled, or somebody in between."""
    return ConnectionFailed(
        f"the host key of {_where(host)} has CHANGED",
        details=[f"expected: {expected}", f"seen:     {seen}", f"pinned in {cluster.known_hosts}"],
        hint="somebody may be in between. Compare the fingerprint at the machine's console "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); only if it was reinstalled: "
        f"ssh-keygen -R '{_known_hosts_name(host)}' -f {cluster.known_hosts}, then add the new key "
        f"({_scan(cluster, host)})",
    )


def key_unknown(cluster: Cluster, host: Host, seen: str = "") -> ConnectionFailed:
    """No key is pinned for the host yet."""
    return ConnectionFailed(
        f"the host key of {_where(host)} is not known",
        details=[f"seen: {seen}"] if seen else [],
        hint="compare the fingerprint at the machine's console "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then add the key: "
        f"{_scan(cluster, host)}",
    )


def _scan(cluster: Cluster, host: Host) -> str:
    port = "" if host.port == 22 else f"-p {host.port} "
    return f"ssh-keyscan {port}{host.address} >> {cluster.known_hosts}"


def sudo_refused(host: Host, user: str, why: str) -> ConnectionFailed:
    """The login works and may not become root without a password."""
    return NoRoot(
        f"user {user} cannot become root on {_where(host)}: {why}",
        hint="give its password with --ask-become-pass (mammoctl -K ...) or, in a vault, as "
        "`ansible_become_password`; or allow password-free sudo there: "
        f"echo '{user} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{user}",
    )


def sudo_problem(stderr: str) -> str:
    """Return sudo's complaint if it, and not the command, failed; else an empty string."""
    for line in stderr.splitlines():
        if "unable to resolve host" in line:
            continue
        if re.match(r"sudo(-rs)?: .*(password|not allowed|authentic|terminal)", line) or re.search(
            r"is not in the sudoers file|sudo: (command )?not found", line
        ):
            return line.strip()
    return ""


def explain(  # noqa: PLR0911  a table of cases reads best flat
    cluster: Cluster, host: Host, user: str, exc: BaseException
) -> ConnectionFailed:
    """Turn an exception of paramiko or of the socket into one that the user can act on."""
    import paramiko
    from paramiko.ssh_exception import NoValidConnectionsError

    if isinstance(exc, ConnectionFailed):
        return exc
    if isinstance(exc, JumpFailed) and exc.__cause__:
        found = explain(cluster, exc.jump, exc.jump.user or user, exc.__cause__)
        found.message = f"{host.name}: {found.message}"
        return found
    if isinstance(exc, paramiko.BadHostKeyException):
        expected = f"{exc.expected_key.get_name()} {exc.expected_key.fingerprint}"
        return key_changed(cluster, host, expected, f"{exc.key.get_name()} {exc.key.fingerprint}")
    if isinstance(exc, UnknownHostKey):
        return key_unknown(cluster, host, f"{exc.key.get_name()} {exc.key.fingerprint}")
    if isinstance(exc, paramiko.AuthenticationException):
        return denied(host, user)
    if isinstance(exc, socket.gaierror):
        return unresolved(host)
    if isinstance(exc, NoValidConnectionsError):
        exc = next(iter(exc.errors.values()))
    if isinstance(exc, ConnectionRefusedError):
        return refused(host)
    if isinstance(exc, TimeoutError):
        return unreachable(host, "timed out")
    if isinstance(exc, paramiko.SSHException) and "No authentication methods" in str(exc):
        return denied(host, user)
    # What paramiko makes of a greeting, a key exchange or a login that takes too long.
    if isinstance(exc, paramiko.SSHException) and re.search(
        "No existing session|protocol banner|[Tt]imeout", str(exc)
    ):
        return unreachable(host, "its SSH server does not answer in time")
    if isinstance(exc, OSError):
        return unreachable(host, exc.strerror or str(exc))
    return ConnectionFailed(
        f"cannot connect to {_where(host)}: {exc}", hint=f"try: ssh -v {user}@{host.address}"
    )


def explain_openssh(  # noqa: PLR0911  a table of cases reads best flat
    cluster: Cluster, host: Host, user: str, stderr: str
) -> ConnectionFailed:
    """Turn what OpenSSH's client (exit status 255) says into an error to act on."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in stderr:
        seen = re.search(r"SHA256:\S+", stderr)
        expected = f"the key pinned in {cluster.known_hosts}"
        return key_changed(cluster, host, expected, seen[0].rstrip(".") if seen else "another key")
    if "Host key verification failed" in stderr:
        return key_unknown(cluster, host)
    if "Permission denied" in stderr:
        return denied(host, user)
    if "Could not resolve hostname" in stderr:
        return unresolved(host)
    if "Connection refused" in stderr:
        return refused(host)
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "")
    if re.search("timed out|No route to host|unreachable", stderr):
        return unreachable(host, last.rpartition(": ")[2])
    return ConnectionFailed(f"the connection to {_where(host)} broke: {last or 'no reason given'}")
