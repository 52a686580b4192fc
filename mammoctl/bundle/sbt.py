"""The launcher of sbt, the build tool for Spark programs in Scala: one jar."""

from __future__ import annotations

from mammoctl.bundle import maven, versions
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Target
from mammoctl.bundle.store import Store, Stored

KIND = "sbt"


def variants(target: Target) -> tuple[str, ...]:
    """Return the variants whose nodes need it: all."""
    return target.variants


def stored(store: Store, _target: Target) -> Stored | None:
    """Return the jar, or None."""
    sbt = versions.load()["sbt"]
    return store.get(sbt["sha256"][sbt["default"]])


def job(store: Store, _target: Target) -> Job:
    """Return the job that fetches the jar with Maven."""
    sbt = versions.load()["sbt"]
    version = sbt["default"]
    return maven.jar_job(
        store, sbt["artifact"], version, sbt["sha256"][version], sbt["size"][version]
    )
