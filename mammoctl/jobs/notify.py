"""Tell somebody that a job has ended: from the master, or by a command on this machine.

The master tells addresses by itself, whoever is there. A command can only be run here: by the
`submit` that waits, by a process that it leaves behind, or by the next `mammoctl jobs` after this
machine was away. What is still to be run is kept in a file, and whoever takes the file runs it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mammoctl import become, console, paths
from mammoctl.errors import MammoctlError, UsageError
from mammoctl.jobs.known import show
from mammoctl.jobs.remote.records import ENDED
from mammoctl.jobs.remote.tell import SENDMAIL, message

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

_STDERR = 2
_MAIL = re.compile(r"(?:mailto:)?([^@\s/:]+@[A-Za-z0-9.-]+\.[A-Za-z0-9-]+)")


@dataclass(frozen=True, slots=True)
class Targets:
    """Whom to tell: addresses for the master, commands for this machine."""

    addresses: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def targets(words: Sequence[str]) -> Targets:
    """Sort what ``--notify`` was given.

    Raises:
        UsageError: an address has no host, or a command is empty.
    """
    addresses, commands = [], []
    for word in words:
        text = word.strip()
        if mail := _MAIL.fullmatch(text):
            addresses.append(f"mailto:{mail[1]}")
        elif re.match(r"https?:", text, re.IGNORECASE):
            _require_address(text)
            addresses.append(text)
        elif text:
            commands.append(text)
        else:
            raise UsageError("--notify is empty", hint="give a command, an URL or a mail address")
    return Targets(tuple(addresses), tuple(commands))


def _require_address(text: str) -> None:
    try:
        parts = urlsplit(text)
        why = "" if parts.hostname else "no host"
        _ = parts.port
    except ValueError as exc:  # brackets that are not closed, a port beyond all
        why = str(exc)
    if why:
        raise UsageError(f"--notify {text}: {why}", hint="write https://HOST[:PORT]/PATH")


def require_mail(nodes: Nodes, addresses: Sequence[str]) -> None:
    """Refuse mail addresses where the master cannot send mail.

    Raises:
        UsageError: it has no ``sendmail``.
    """
    if not any(address.startswith("mailto:") for address in addresses):
        return
    master = nodes.cluster.master
    if nodes.run(master, ["test", "-x", SENDMAIL], check=False).rc:
        raise UsageError(
            f"{master.name} cannot send mail: there is no {SENDMAIL}",
            hint="install a mail transfer agent there (apt install msmtp-mta), or give an URL",
        )


def _folder() -> Path:
    return paths.log_dir().parent / "notify"


def remember(cluster: Cluster, job: str, commands: Sequence[str]) -> None:
    """Keep the commands that are to be run here when a job has ended."""
    if not commands:
        return
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = {"cluster": str(cluster.source), "job": job, "commands": list(commands)}
    path = folder / f"{job}.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        json.dump(document, stream)


def waiting(cluster: Cluster) -> list[str]:
    """Return the jobs of a cluster that somebody here is still to be told of."""
    return [
        path.stem
        for path in sorted(_folder().glob("*.json"))
        if _read(path).get("cluster") == str(cluster.source)
    ]


def settle(nodes: Nodes, *, quiet: bool = False) -> None:
    """Run the commands of jobs that have ended meanwhile."""
    for job in waiting(nodes.cluster):
        try:
            state = show(nodes, job)["state"]
        except UsageError:
            (_folder() / f"{job}.json").unlink(missing_ok=True)  # pruned
            continue
        except MammoctlError:
            return
        if state["state"] in ENDED:
            ended(nodes.cluster, state, quiet=quiet)


def ended(cluster: Cluster, state: Mapping[str, Any], *, quiet: bool = True) -> None:
    """Run a job's commands, once, with what became of it in their environment."""
    path = _folder() / f"{state['id']}.json"
    mine = path.with_suffix(f".{os.getpid()}")
    try:
        path.rename(mine)
    except OSError:
        return  # nobody is to be told, or somebody else is at it
    commands = _read(mine).get("commands") or []
    document = message(state, cluster.name)
    if not quiet:
        console.note(document["text"])
    given = ("job", "cluster", "state", "exit_code", "reason", "text")
    values = {f"MAMMOCTL_{key.upper()}": str(document.get(key) or "") for key in given}
    if document.get("exit_code") is not None:
        values["MAMMOCTL_EXIT_CODE"] = str(document["exit_code"])
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command],
            env={**os.environ, **values},
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            check=False,
        )
        if done.returncode:
            console.warn(f"--notify {command}: ended with status {done.returncode}")
    mine.unlink(missing_ok=True)


def leave_behind(cluster: Cluster, job: str) -> None:
    """Start a process that waits for a job's end after this command, and runs its commands."""
    if job not in waiting(cluster):
        return
    argv = [sys.executable, "-m", "mammoctl", "jobs", "await", job, "-i", str(cluster.source)]
    log = _folder() / f"{job}.log"
    with log.open("ab") as stream:
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            pass_fds=become.inherited(),
        )
    console.note(f"`{shlex.join(argv[2:6])}` waits in the background to tell of its end")


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
