"""The server side of HDFS: one jar beside Spark's own."""

from __future__ import annotations

from mammoctl.bundle import maven, versions
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Target
from mammoctl.bundle.store import Store, Stored

KIND = "hdfs"


def variants(target: Target) -> tuple[str, ...]:
    """Return the variants whose nodes need it: all."""
    return target.variants


def stored(store: Store, _target: Target) -> Stored | None:
    """Return the jar, or None."""
    hdfs = versions.load()["hdfs"]
    return store.get(hdfs["sha256"][hdfs["default"]])


def job(store: Store, _target: Target) -> Job:
    """Return the job that fetches the jar with Maven."""
    hdfs = versions.load()["hdfs"]
    version = hdfs["default"]
    sha256, size = hdfs["sha256"][version], hdfs["size"][version]
    return maven.jar_job(store, hdfs["artifact"], version, sha256, size)
