"""Spark out of an official tarball, where a cluster prefers it to the engine inside ``pyspark``.

The Python package stays in the nodes' environment, so both must be of one version.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
from pathlib import Path

from mammoctl.bundle import download, versions
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store, Stored
from mammoctl.errors import BundleError, UsageError

KIND = "spark"

_UPSTREAM = "https://archive.apache.org/dist/spark/spark-{0}/spark-{0}-bin-hadoop3.tgz"
_ABOUT = 450_000_000  # bytes; the server tells the size only when asked
_CORE = re.compile(r"[^/]+/jars/spark-core_[\d.]+-(?P<version>[^/]+)\.jar")


def variants(target: Target) -> tuple[str, ...]:
    """Return the variants whose nodes need it: all, where Spark comes as a tarball."""
    return target.variants if target.sources.spark_sha512 else ()


def stored(store: Store, target: Target) -> Stored | None:
    """Return the tarball, or None."""
    return store.derived(_key(target.sources.spark_sha512))


def job(store: Store, target: Target) -> Job:
    """Return the job that downloads the tarball and compares it with its sha512.

    Raises:
        BundleError: the target wants a file of this machine that the store no longer has.
    """
    sha512, url = target.sources.spark_sha512, target.sources.spark_url
    if not url:
        raise BundleError(
            f"the tarball of Spark (sha512 {sha512[:16]}...) is not in {store.root}",
            hint="name the file again: spark_archive in the inventory",
        )

    def work(folder: Path, _runner: Runner) -> None:
        local = folder / url.rpartition("/")[2]
        download.download(url, local, size=None, progress=False)
        actual = sha512_of(local)
        if actual != sha512:
            raise BundleError(
                f"{url} does not have the sha512 that spark_archive_sha512 names; it was not kept",
                hint="compare with the .sha512 file beside it on https://downloads.apache.org",
                details=[f"expected {sha512}", f"actual   {actual}"],
            )
        require_version(local)
        store.add_derived(_key(sha512), local)

    return Job(title=url.rpartition("/")[2], size=_ABOUT, work=work)


def upstream() -> str:
    """Return where Apache keeps the tarball of the pinned Spark."""
    return _UPSTREAM.format(versions.load()["spark"]["default"])


def adopt(store: Store, path: Path, sha512: str = "") -> str:
    """Take a tarball of this machine into the store; return its sha512.

    Args:
        store: where to.
        path: the file; it stays.
        sha512: the sum it must have; empty when the user gave none.

    Raises:
        UsageError: there is no such file, it has another sum, or it holds another Spark.
        BundleError: the store cannot be written.
    """
    if not path.is_file():
        raise UsageError(
            f"there is no tarball of Spark at {path}",
            hint="correct spark_archive in the inventory, or leave spark_source at pypi",
        )
    actual = sha512_of(path)
    if sha512 and sha512 != actual:
        raise UsageError(
            f"{path} does not have the sha512 that spark_archive_sha512 names",
            hint="fetch it again",
            details=[f"expected {sha512}", f"actual   {actual}"],
        )
    if store.derived(_key(actual)) is None:
        require_version(path)
        store.require_space(path.stat().st_size)
        with store.writing() as scratch:
            copy = scratch / path.name
            shutil.copyfile(path, copy)
            store.add_derived(_key(actual), copy)
    return actual


def require_version(path: Path) -> None:
    """Check that a tarball holds the Spark that ``pyspark`` in the environment is of.

    Raises:
        UsageError: it does not, or it is no distribution of Spark.
    """
    wanted = versions.load()["spark"]["default"]
    try:
        with tarfile.open(path) as archive:
            found = next((m for m in map(_CORE.fullmatch, archive.getnames()) if m), None)
    except (tarfile.TarError, OSError, EOFError) as exc:
        raise UsageError(
            f"{path.name} cannot be read as a tarball of Spark: {exc}", hint="fetch it again"
        ) from exc
    if found is None:
        raise UsageError(
            f"{path.name} is no distribution of Spark: it has no jars/spark-core",
            hint=f"take spark-{wanted}-bin-hadoop3.tgz",
        )
    if found["version"] != wanted:
        raise UsageError(
            f"{path.name} holds Spark {found['version']}; the Python environment has {wanted}",
            hint=f"take spark-{wanted}-bin-hadoop3.tgz: both must be of one version",
        )


def sha512_of(path: Path) -> str:
    """Return the sha512 of a file in hexadecimal, as Apache publishes it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha512").hexdigest()


def _key(sha512: str) -> str:
    return f"spark-{sha512[:64]}"
