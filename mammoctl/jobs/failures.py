"""Exit codes of failures around a job."""

from __future__ import annotations

from mammoctl.errors import JobError, MammoctlError


def outside(exc: MammoctlError) -> MammoctlError:
    """Give a failure around a job its exit code: 125, but 2 for wrong use and 130 for Ctrl-C."""
    if exc.exit_code != MammoctlError.exit_code:
        return exc
    return JobError(exc.message, hint=exc.hint, details=exc.details)
