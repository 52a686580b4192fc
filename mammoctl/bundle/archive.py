"""A bundle to carry, written as a folder or one tar archive with checksums.

    bundle.json      the record, with the checksum and size of every file; first in the archive
    SHA256SUMS       for `sha256sum --check` without mammoctl
    store/<sha256>/<name>

Beside an archive lies ``<archive>.sha256`` with the sum of the whole. The same bundle gives the
same archive, byte for byte. :mod:`mammoctl.bundle.carried` reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

from mammoctl import console, files
from mammoctl.bundle import model
from mammoctl.bundle.model import Artifact, Bundle
from mammoctl.bundle.store import human, sha256_of
from mammoctl.errors import BundleError, UsageError

RECORD, SUMS, STORE = "bundle.json", "SHA256SUMS", "store"


def write(bundle: Bundle, target: Path) -> str:
    """Write a bundle to ``target``; return the sha256 of the archive, or of a folder's SHA256SUMS.

    Args:
        bundle: its files are in the store.
        target: a new archive where the name ends in ``.tar``; else a folder, new or of a bundle.

    Raises:
        UsageError: something else is there.
        BundleError: there is no room, or it cannot be written.
    """
    try:
        if target.suffix == ".tar":
            return _write_archive(bundle, target)
        return _write_folder(bundle, target)
    except OSError as exc:
        raise BundleError(
            f"cannot write the bundle to {target}: {exc.strerror or exc}",
            hint="check the folder's permissions and its room",
        ) from exc


def _record(bundle: Bundle) -> str:
    # Where the locks lay on the machine that made it says nothing elsewhere.
    sources = replace(bundle.target.sources, python_locks="")
    target = replace(bundle.target, sources=sources)
    return (
        json.dumps(model.to_json(replace(bundle, store=Path(STORE), target=target)), indent=1)
        + "\n"
    )


def _sums(bundle: Bundle, record: str) -> str:
    lines = [f"{file.sha256}  {STORE}/{file.path}" for file in _ordered(bundle)]
    return "\n".join([f"{hashlib.sha256(record.encode()).hexdigest()}  {RECORD}", *lines]) + "\n"


def _ordered(bundle: Bundle) -> list[Artifact]:
    return sorted(bundle.files, key=lambda file: file.path)


def _write_folder(bundle: Bundle, target: Path) -> str:
    record = _record(bundle)
    there = [path.name for path in target.iterdir()] if target.exists() else []
    if there and RECORD not in there:
        raise UsageError(
            f"{target} is a folder with other things", hint="name a new one, or a file NAME.tar"
        )
    target.mkdir(parents=True, exist_ok=True)
    (target / RECORD).unlink(missing_ok=True)  # not a bundle until it is complete
    wanted = {file.sha256 for file in bundle.files}
    lacking = [f for f in bundle.files if not _has(target / STORE / f.path, f)]
    _require_room(target, sum(file.size for file in lacking))
    for old in (target / STORE).glob("*") if (target / STORE).is_dir() else ():
        if old.name not in wanted:
            shutil.rmtree(old)
    with console.progress(transfer=True) as bars:
        bar = bars.add_task("writing", total=sum(file.size for file in lacking))
        for file in lacking:
            path = target / STORE / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            shutil.copyfile(bundle.store / file.path, part)
            part.chmod(0o644)
            part.replace(path)
            bars.advance(bar, file.size)
    files.write(target / SUMS, _sums(bundle, record))
    files.write(target / RECORD, record)
    return sha256_of(target / SUMS)


def _has(path: Path, file: Artifact) -> bool:
    return path.is_file() and path.stat().st_size == file.size and sha256_of(path) == file.sha256


def _write_archive(bundle: Bundle, target: Path) -> str:
    if target.is_dir():
        raise UsageError(f"{target} is a folder", hint="name a file NAME.tar")
    target.parent.mkdir(parents=True, exist_ok=True)
    _require_room(target.parent, bundle.size + 10_000_000)
    part, record = target.with_name(f".{target.name}.part"), _record(bundle)
    try:
        with (
            console.progress(transfer=True) as bars,
            tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as tar,
        ):
            bar = bars.add_task("writing", total=bundle.size)
            for name, text in ((RECORD, record), (SUMS, _sums(bundle, record))):
                entry = _entry(name, len(text.encode()))
                tar.addfile(entry, io.BytesIO(text.encode()))
            for file in _ordered(bundle):
                with (bundle.store / file.path).open("rb") as stream:
                    tar.addfile(_entry(f"{STORE}/{file.path}", file.size), stream)
                bars.advance(bar, file.size)
        digest = sha256_of(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    files.write(target.with_name(f"{target.name}.sha256"), f"{digest}  {target.name}\n")
    return digest


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Return an archive's entry without times and owners, so that it is the same everywhere."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BundleError(
            f"not enough room for the bundle in {folder}: {human(needed)} needed, "
            f"{human(free)} free",
            hint="free some, or name another disk",
        )
