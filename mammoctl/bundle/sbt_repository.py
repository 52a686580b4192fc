"""What sbt itself consists of, and the compiler of Spark's Scala, as a small Maven repository.

The launcher would fetch them from the internet on first use. With them on a node, `sbt package`
works there without any network, and every user of the node shares them. ``locks/sbt.json`` names
each file with its sha256.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

from mammoctl.bundle import locks, maven
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store, Stored, mismatch, sha256_of
from mammoctl.errors import BundleError

KIND = "sbt-repository"
LOCK = "sbt.json"


def variants(target: Target) -> tuple[str, ...]:
    """Return the variants whose nodes need it: all, unless the cluster does without."""
    return target.variants if target.sources.sbt_repository else ()


def stored(store: Store, _target: Target) -> Stored | None:
    """Return the archive, or None."""
    return store.derived(derivation())


def job(store: Store, _target: Target) -> Job:
    """Return the job that fetches the files with one Maven and packs them.

    Raises:
        BundleError: Maven is not installed, or the lock is missing.
    """
    wanted = read_lock()
    mvn = maven.program("sbt's own parts")

    def work(folder: Path, runner: Runner) -> None:
        repository = maven.fetch_files(mvn, list(wanted), folder, runner)
        for name, entry in wanted.items():
            actual = sha256_of(repository / name)
            if actual != entry["sha256"]:
                raise mismatch(name, entry["sha256"], actual)
        archive = folder / "sbt-repository.tar"
        pack(repository, list(wanted), archive)
        store.add_derived(derivation(), archive)

    size = sum(entry["size"] for entry in wanted.values())
    return Job(title="sbt's own parts", size=size, work=work)


@cache
def read_lock() -> dict[str, dict[str, Any]]:
    """Return ``{path: {sha256, size}}`` of the files, by their paths in a Maven repository.

    Raises:
        BundleError: the lock is missing or malformed.
    """
    path = locks.folder() / LOCK
    try:
        found: dict[str, dict[str, Any]] = json.loads(path.read_text())
        return {name: {**entry} for name, entry in found.items()}
    except (OSError, ValueError, TypeError) as exc:
        raise BundleError(
            f"cannot read {path}: {exc}",
            hint="the installation is damaged: install mammoctl again",
        ) from exc


def pack(root: Path, names: list[str], archive: Path) -> None:
    """Write a tar of ``names`` below ``root`` that is the same byte for byte everywhere.

    Not compressed: jars are compressed already.
    """
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(names):
            entry = tarfile.TarInfo(name)
            entry.size = (root / name).stat().st_size
            entry.mode = 0o644
            with (root / name).open("rb") as stream:
                tar.addfile(entry, stream)


def derivation() -> str:
    """Return the name under which the store knows the archive: it follows from the lock."""
    lines = [f"{entry['sha256']}  {name}\n" for name, entry in sorted(read_lock().items())]
    return f"sbt-repository-{hashlib.sha256(''.join(lines).encode()).hexdigest()[:32]}"
