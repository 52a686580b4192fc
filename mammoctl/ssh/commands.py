"""What is run on a node, and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mammoctl.errors import ConnectionFailed, MammoctlError, RemoteError

Command = str | Sequence[str]
Sudo = bool | str

# What programs and sudo say is read here; a login may have any language (C.UTF-8 is on every
# Debian and Ubuntu, and keeps names of files beyond ASCII).
ENGLISH = ("env", "-u", "LANGUAGE", "LC_ALL=C.UTF-8")


@dataclass(frozen=True)
class Result:
    """Outcome of a remote command: text streams and the exit status."""

    host: str
    command: str
    stdout: str
    stderr: str
    rc: int

    @property
    def ok(self) -> bool:
        """Tell whether the command ended with status 0."""
        return self.rc == 0


def quoted(argv: Sequence[str]) -> str:
    """Return one line that every login shell takes for ``argv``, fish as well as those like sh.

    To fish a backslash means something inside single quotes; outside of them, doubled, it is the
    same to all.
    """
    return " ".join(
        "\\\\".join(shlex.quote(part) if part else "" for part in word.split("\\")) or "''"
        for word in argv
    )


def command_line(
    command: Command,
    *,
    sudo: Sudo = False,
    login: str | None = None,
    sudo_exe: str = "sudo",
    password: bool = False,
) -> str:
    """Return the line for the remote login shell, whichever it and its language are.

    Args:
        command: an argv, quoted here; or a line of ``sh``, run as it is.
        sudo: True for root, or the name of the user to become.
        login: who we are on the host; root needs no sudo.
        sudo_exe: ``ansible_become_exe`` of the host.
        password: sudo asks for one, and gets it as the first line of the command's input.
    """
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    if not needs_sudo(sudo, login):
        return quoted([*ENGLISH, *argv])
    if login == "root":  # a minimal root-only host may have no sudo
        return quoted([*ENGLISH, "runuser", "-u", str(sudo), "--", *argv])
    # Without its memory of earlier answers sudo asks each time: what is sent is never left over.
    how = ["-k", "-S", "-p", ""] if password else ["-n"]
    user = ["-H", "-u", sudo] if isinstance(sudo, str) else []
    return quoted([*ENGLISH, sudo_exe, *how, *user, "--", *argv])


# A session of sshd or sudo has a process group of its own: the command and all it has started.
_WATCH = (
    "exec 3<&0; { cat <&3; kill -0 $$ && kill 0; } >/dev/null 2>&1 & "
    'exec 3<&-; exec "$@" </dev/null'
)


def while_connected(command: Command) -> list[str]:
    """Return an argv that runs ``command`` without input, and ends it when the connection ends.

    Standard input ends with the connection; sshd alone would leave a silent command running.
    """
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    return ["sh", "-c", _WATCH, "sh", *argv]


def needs_sudo(sudo: Sudo, login: str | None) -> bool:
    """Tell whether another user than the login is wanted."""
    return not (sudo is False or (sudo is True and login == "root") or sudo == login)


def shown(command: Command) -> str:
    """Return a short form of a command for messages: its first line, no more than 100 signs."""
    if not isinstance(command, str) and _WATCH in command:
        command = command[4:]  # what is watched over
    text = command if isinstance(command, str) else shlex.join(command)
    first = text.strip().partition("\n")[0]
    return first if len(first) <= 100 else first[:97] + "..."


def failed(result: Result, *, hint: str = "") -> RemoteError:
    """Return the error for a command that ended with another status than 0."""
    text = result.stderr.strip() or result.stdout.strip()
    return RemoteError(
        f"{result.host}: `{result.command}` ended with status {result.rc}",
        details=text.splitlines()[-8:],
        hint=hint,
    )


def require_all(outcomes: Mapping[str, Result | MammoctlError]) -> dict[str, Result]:
    """Return the results of a fan-out in which no host may fail.

    Raises:
        ConnectionFailed: hosts failed; every one of them is named with its reason and mend.
    """
    failures = {name: out for name, out in outcomes.items() if isinstance(out, MammoctlError)}
    if len(failures) == 1:
        raise next(iter(failures.values()))
    if failures:
        details: list[str] = []
        for error in failures.values():
            details += [error.message, *(f"    {line}" for line in error.details)]
            details += [f"    hint: {error.hint}"] if error.hint else []
        raise ConnectionFailed(
            f"{len(failures)} of {len(outcomes)} hosts cannot be used: {', '.join(failures)}",
            details=details,
            hint="mend these, then run the same command again",
        )
    return {name: out for name, out in outcomes.items() if isinstance(out, Result)}
