"""What a bundle has besides the Python environment: one list of parts with one interface."""

from __future__ import annotations

from typing import Protocol

from mammoctl.bundle import hdfs, interpreter, sbt, sbt_repository, spark_archive
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Target
from mammoctl.bundle.store import Store, Stored


class Part(Protocol):
    """One file of a bundle; each is a module with these names.

    Attributes:
        KIND: what the roles know the file by (``kind`` in the bundle's record).
    """

    KIND: str

    def variants(self, target: Target) -> tuple[str, ...]:
        """Return the variants whose nodes need the file; none when nobody does."""

    def stored(self, store: Store, target: Target) -> Stored | None:
        """Return the file, or None while the store lacks it. No network, no long work."""

    def job(self, store: Store, target: Target) -> Job:
        """Return the job that puts the file into the store.

        Raises:
            BundleError: something that the job needs is not there, such as a client.
        """


PARTS: tuple[Part, ...] = (interpreter, spark_archive, hdfs, sbt, sbt_repository)


def wanted(target: Target) -> list[Part]:
    """Return the parts that a bundle for ``target`` has."""
    return [part for part in PARTS if part.variants(target)]
