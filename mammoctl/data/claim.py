"""One push of a data set at a time: a lock on the master that lives as long as the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mammoctl import lock
from mammoctl.errors import DataError

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

FOLDER = "/run"


@contextmanager
def claimed(nodes: Nodes, name: str) -> Iterator[None]:
    """Keep other pushes and removals of a data set out for the time of the block.

    Args:
        nodes: connections to the cluster.
        name: of the data set, checked already.

    Raises:
        DataError: somebody else is at it.
        Locked: the claim was lost, and somebody else took it.
    """

    def refused(holder: lock.Holder) -> DataError:
        return DataError(
            f"the data set {name} is being changed by {holder}",
            hint="wait until that has ended; this ends with it, or a minute after its machine or "
            "its connection is gone",
        )

    file = f"{FOLDER}/mammoctl-data-{name}.lock"
    with lock.on(nodes, file, f"data set {name}", refused):
        yield
