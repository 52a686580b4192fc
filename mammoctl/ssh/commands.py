"""What is run on a node, and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mammoctl.errors import ConnectionFailed, MammoctlError, RemoteError

Command = str | Sequence[str]
Sudo = bool | str


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


def command_line(
    command: Command, *, sudo: Sudo = False, login: str | None = None, sudo_exe: str = "sudo"
) -> str:
    """Return the line for the remote shell.

    Args:
        command: an argv, quoted here; or a line of ``sh``, run as it is.
        sudo: True for root, or the name of the user to become.
        login: who we are on the host; root needs no sudo.
        sudo_exe: ``ansible_become_exe`` of the host.
    """
    if sudo is False or (sudo is True and login == "root") or sudo == login:
        return command if isinstance(command, str) else shlex.join(command)
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    if login == "root":  # a minimal root-only host may have no sudo
        return shlex.join(["runuser", "-u", str(sudo), "--", *argv])
    user = ["-H", "-u", sudo] if isinstance(sudo, str) else []
    return shlex.join([sudo_exe, "-n", *user, "--", *argv])


def shown(command: Command) -> str:
    """Return a short form of a command for messages: its first line, no more than 100 signs."""
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
