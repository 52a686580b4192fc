"""The errors that a user can cause, each with its exit code and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mammoctl.ansible.events import TaskFailure


class MammoctlError(Exception):
    """A failure that is explained to the user without a traceback.

    Args:
        message: what went wrong and where, in one sentence.
        hint: what to do next: a command, a variable or an option.
        details: further lines, shown indented below the message.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", details: list[str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or []


class UsageError(MammoctlError):
    """The command line, an inventory or an input file cannot be used as it is (exit code 2)."""

    exit_code = 2


class InventoryError(UsageError):
    """The inventory is missing, malformed or contradicts itself."""


class ConnectionFailed(MammoctlError):
    """A host cannot be reached, refuses the key, or shows another host key than the pinned one."""


class NoRoot(ConnectionFailed):
    """The login works, and may not become root without a password."""


class RemoteError(MammoctlError):
    """A command on a node failed."""


class PlaybookFailed(MammoctlError):
    """An Ansible playbook ended with failed or unreachable hosts.

    Attributes:
        failures: what ended it, per host; empty when it never came to a task.
        warnings: (host, text) of what roles warned of before.
    """

    failures: Sequence[TaskFailure] = ()
    warnings: Sequence[tuple[str, str]] = ()


class BundleError(MammoctlError):
    """An artifact cannot be resolved, downloaded, built or does not have its pinned checksum."""


class LabError(MammoctlError):
    """The local lab cannot be built, started or removed."""


class DataError(UsageError):
    """A data set cannot be used: nothing to read, one class only, labels without files."""


class JobError(MammoctlError):
    """A job cannot be submitted, followed or fetched (exit code 125, as for ``docker run``)."""

    exit_code = 125


class Interrupted(MammoctlError):
    """The user pressed Ctrl-C; the same command can be repeated (exit code 130)."""

    exit_code = 130
