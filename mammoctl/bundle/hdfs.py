"""The server side of HDFS: one jar beside Spark's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from mammoctl.bundle import maven, versions
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Target
from mammoctl.bundle.store import Store, Stored, sha256_of
from mammoctl.errors import UsageError

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


def adopt(store: Store, path: Path) -> None:
    """Take the jar from a file of this machine into the store, so that Maven is not asked.

    Raises:
        UsageError: there is no such file, or it is not the pinned jar.
        BundleError: the store cannot be written.
    """
    hdfs = versions.load()["hdfs"]
    version = hdfs["default"]
    name = f"{hdfs['artifact'].partition(':')[2]}-{version}.jar"
    if not path.is_file():
        raise UsageError(
            f"there is no jar of HDFS at {path}",
            hint="correct hdfs_jar in the inventory, or leave hdfs_source at maven",
        )
    wanted, actual = hdfs["sha256"][version], sha256_of(path)
    if actual != wanted:
        raise UsageError(
            f"{path} is not the pinned {name}",
            hint="take exactly that file from a Maven repository",
            details=[f"expected sha256 {wanted}", f"actual   sha256 {actual}"],
        )
    if store.get(wanted) is None:
        store.require_space(path.stat().st_size)
        with store.writing() as scratch:
            copy = scratch / name
            shutil.copyfile(path, copy)
            store.add(copy, wanted)
