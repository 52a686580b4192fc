"""The host keys of machines that are seen for the first time: fetched, compared, pinned."""

from __future__ import annotations

import base64
import hashlib
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mammoctl.errors import ConnectionFailed, MammoctlError
from mammoctl.init.draft import Draft, Login, place
from mammoctl.inventory import Cluster, Host
from mammoctl.ssh import failures
from mammoctl.ssh.config import CONNECT_TIMEOUT


@dataclass(frozen=True)
class HostKey:
    """A host key as the host shows it.

    Attributes:
        where: what known_hosts calls the host: an address, or ``[address]:port``.
        trusted: the user's own known_hosts has the same key for it.
    """

    name: str
    where: str
    kind: str
    blob: str
    trusted: bool = False

    @property
    def fingerprint(self) -> str:
        """The fingerprint as ``ssh-keygen -l`` shows it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def line(self) -> str:
        """Return the key as a line of known_hosts."""
        return f"{self.where} {self.kind} {self.blob}\n"


def jump_command(login: Login, known_hosts: str) -> str:
    """Return the ``ProxyCommand`` for a login over a jump host; empty without one.

    Unlike ``ProxyJump`` it checks the jump host's key against the cluster's known_hosts, for
    Ansible's ssh as well.
    """
    if not login.jump:
        return ""
    user, host, port = place(login.jump)
    words = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    words += ["-o", f"UserKnownHostsFile={known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"]
    words += ["-p", str(port)] if port else []
    words += ["-l", user] if user else []
    words += ["-i", str(login.key)] if login.key else []
    return " ".join([*words, "-W", "%h:%p", host])


def fetch(drafts: list[Draft], known_hosts: Path) -> list[HostKey]:
    """Return the host keys that the machines show, those that known_hosts has already left out.

    Nothing is sent but the key exchange; nobody is logged in to, but on the jump hosts, whose
    keys must be in ``known_hosts`` by then.

    Raises:
        ConnectionFailed: machines do not answer; all of them are named.
    """
    wanted = [draft for draft in drafts if not _stored(known_hosts, _where(draft))]
    with ThreadPoolExecutor(max_workers=max(1, min(len(wanted), 32))) as pool:
        outcomes = list(pool.map(lambda draft: _outcome(draft, known_hosts), wanted))
    problems = [out for out in outcomes if isinstance(out, MammoctlError)]
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConnectionFailed(
            f"{len(problems)} of {len(drafts)} machines do not answer",
            details=[line for p in problems for line in (p.message, f"    hint: {p.hint}")],
            hint="mend these, or leave them out for now",
        )
    return [out for out in outcomes if isinstance(out, HostKey)]


def jumps(drafts: list[Draft]) -> list[Draft]:
    """Return the jump hosts as machines, each once."""
    found = {}
    for draft in drafts:
        if draft.login.jump:
            user, host, port = place(draft.login.jump)
            login = Login(user or draft.login.user, draft.login.key, port or 22)
            found[draft.login.jump] = Draft(f"jump host {host}", host, login)
    return list(found.values())


def _outcome(draft: Draft, known_hosts: Path) -> HostKey | MammoctlError:
    try:
        return _fetch(draft, known_hosts)
    except MammoctlError as exc:
        return exc


def _fetch(draft: Draft, known_hosts: Path) -> HostKey:
    login = draft.login
    with tempfile.TemporaryDirectory(prefix="mammoctl-") as folder:
        seen = Path(folder) / "seen"
        options = {
            "UserKnownHostsFile": str(seen),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "accept-new",
            "HashKnownHosts": "no",
            "CheckHostIP": "no",
            "PreferredAuthentications": "none",
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_TIMEOUT),
        }
        if command := jump_command(login, str(known_hosts)):
            options["ProxyCommand"] = command
        argv = ["ssh", "-F", "none", "-p", str(login.port), "-l", login.user or "nobody"]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        done = subprocess.run(
            [*argv, "--", draft.address, "true"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        line = seen.read_text().strip() if seen.is_file() else ""
    if not line:
        host = Host(draft.name, draft.address, login.port, login.user, login.key)
        cluster = Cluster("", known_hosts.parent, known_hosts, {draft.name: host}, host, [host])
        raise failures.explain_openssh(cluster, host, login.user or "", done.stderr)
    where, kind, blob = line.splitlines()[0].split()[:3]
    return _compared(HostKey(draft.name, where, kind, blob))


def _compared(key: HostKey) -> HostKey:
    """Compare a key with what the user's own known_hosts has for the same host.

    Raises:
        ConnectionFailed: that is another key of the same kind.
    """
    own = Path.home() / ".ssh" / "known_hosts"
    known = _stored(own, key.where)
    if (key.kind, key.blob) in known:
        return HostKey(key.name, key.where, key.kind, key.blob, trusted=True)
    other = [blob for kind, blob in known if kind == key.kind]
    if other:
        expected = HostKey(key.name, key.where, key.kind, other[0])
        raise ConnectionFailed(
            f"the host key of {key.name} ({key.where}) is not the one in {own}",
            details=[f"expected: {expected.fingerprint}", f"seen:     {key.fingerprint}"],
            hint="somebody may be in between. Compare the fingerprint at the machine's console; "
            f"only if it was reinstalled: ssh-keygen -R {shlex.quote(key.where)}",
        )
    return key


def _where(draft: Draft) -> str:
    port = draft.login.port
    return draft.address if port == 22 else f"[{draft.address}]:{port}"


def _stored(known_hosts: Path, where: str) -> list[tuple[str, str]]:
    """Return (kind, blob) of the keys that a known_hosts has for a host; names may be hashed."""
    if not known_hosts.is_file():
        return []
    done = subprocess.run(
        ["ssh-keygen", "-F", where, "-f", str(known_hosts)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    return [(parts[1], parts[2]) for parts in lines if len(parts) >= 3 and parts[0][0] != "@"]
