"""One push of a data set at a time: a lock on the master that lives as long as the command."""

from __future__ import annotations

import getpass
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mammoctl.errors import DataError, RemoteError

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

_TAKEN = "held by "

# The kernel's lock ends with the process, and that with the connection: nothing is left behind.
_HOLD = """
umask 077
exec 9>>"$1" || exit
flock -n 9 || { echo "held by $(cat "$1")" >&2; exit 75; }
printf '%s\\n' "$2" >"$1"
echo held
exec sleep infinity
"""


@contextmanager
def claimed(nodes: Nodes, name: str) -> Iterator[None]:
    """Keep other pushes and removals of a data set out for the time of the block.

    Args:
        nodes: connections to the cluster.
        name: of the data set, checked already.

    Raises:
        DataError: somebody else is at it.
    """
    who = f"{getpass.getuser()}@{platform.node()} since {time.strftime('%Y-%m-%d %H:%M')}"
    path = f"/run/mammoctl-data-{name}.lock"
    argv = ["bash", "-c", _HOLD, "bash", path, who]
    lines = nodes.follow(nodes.cluster.master, argv, sudo=True)
    try:
        try:
            next(lines, None)
        except RemoteError as exc:
            taken = [line for line in exc.details if line.startswith(_TAKEN)]
            if not taken:
                raise
            raise DataError(
                f"the data set {name} is being changed, {taken[0]}",
                hint="wait until that has ended; the lock ends with it, or with its connection",
            ) from exc
        yield
    finally:
        if close := getattr(lines, "close", None):
            close()
