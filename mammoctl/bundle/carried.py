"""A bundle that was carried here: read, verified, and taken into the store.

What it says of itself is not believed: every file's sum is computed, and names lead nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import __version__, console
from mammoctl.bundle import environment, model, parts, resolve, weights
from mammoctl.bundle.archive import RECORD, STORE
from mammoctl.bundle.model import Artifact, Bundle, content_key
from mammoctl.bundle.store import Store, sha256_of
from mammoctl.errors import BundleError, MammoctlError, UsageError

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

# Beside the record of a bundle that came here from elsewhere.
_MARK = "brought"
_AGAIN = (
    "copy it again from where it was made and compare: sha256sum --check {name}.sha256; "
    "or make it anew: mammoctl bundle create --output {name}"
)


def is_file(text: str) -> bool:
    """Tell whether what a user calls a bundle is a file or folder, and not a key."""
    return "/" in text or "." in text or Path(text).exists()


def read(path: Path) -> Bundle:
    """Return the bundle in a folder or an archive by its record; its files are not looked at.

    Its ``store`` is where a folder has its files; that of an archive is meaningless.

    Raises:
        UsageError: there is none, or it is not for this mammoctl.
        BundleError: it is damaged.
    """
    try:
        if path.is_dir():
            return _parsed((path / RECORD).read_text(), path)
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            stream = tar.extractfile(first) if first and first.name == RECORD else None
            if stream is None:
                raise _no_bundle(path)
            return _parsed(stream.read().decode(), path)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise _no_bundle(path) from exc
    except (tarfile.TarError, UnicodeDecodeError, EOFError) as exc:
        raise BundleError(
            f"{path} cannot be read as a bundle: {exc}", hint=_AGAIN.format(name=path)
        ) from exc
    except OSError as exc:
        raise BundleError(
            f"{path} cannot be read: {exc.strerror}", hint="check its permissions and the disk"
        ) from exc


def _no_bundle(path: Path) -> UsageError:
    what = "there is no bundle at" if not path.exists() else "there is a file, but no bundle, at"
    return UsageError(
        f"{what} {path}",
        hint="mammoctl bundle create --output FILE.tar makes one; `mammoctl bundle show` lists "
        "those that are here",
    )


def _parsed(text: str, path: Path) -> Bundle:
    try:
        data = json.loads(text)
        _require_known(data, path)
        bundle = model.parse(data, path)
        strange = [file.path for file in bundle.files if not _is_inside(file)]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BundleError(
            f"{path}: the bundle's record is damaged: {exc}", hint=_AGAIN.format(name=path)
        ) from exc
    if strange:
        raise BundleError(
            f"{path}: the record names a file outside of the bundle: {strange[0]}",
            hint="do not use it; make a new one where you trust the machine",
        )
    if content_key(bundle.files) != bundle.key:
        raise BundleError(
            f"{path}: the record has been changed: its key is not that of its files",
            hint=_AGAIN.format(name=path),
        )
    return replace(bundle, store=path.absolute() / STORE)


def _is_inside(file: Artifact) -> bool:
    own = f"{file.sha256}/{file.name}"
    return bool(re.fullmatch(r"[0-9a-f]{64}/[^/.][^/]*", file.path)) and file.path == own


def _require_known(data: dict[str, Any], path: Path) -> None:
    made = str(data.get("mammoctl", ""))
    if data.get("schema") != model.SCHEMA or _ordered_version(made) > _ordered_version(__version__):
        raise UsageError(
            f"{path} was made by mammoctl {made or 'of another kind'}; this is {__version__}",
            hint="use the same mammoctl here, or make the bundle with this one",
        )


def _ordered_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def named(text: str) -> Bundle:
    """Return the bundle that a user names: by its key or where it lies, as recorded.

    Raises:
        UsageError: there is none, or several keys begin so.
        BundleError: it cannot be read as one.
    """
    if is_file(text):
        return read(Path(text))
    found = resolve.recorded(text)
    if len(found) > 1:
        raise UsageError(
            f"several bundles begin with {text}: {', '.join(bundle.key for bundle in found)}",
            hint="give more of its digits",
        )
    return found[0]


def of_cluster(nodes: Nodes) -> str | None:
    """Return the key of the bundle that a cluster was installed from, if it was carried here.

    None where it was made here, is not whole any more, or the cluster cannot tell.
    """
    from mammoctl import cluster as clusters

    if not any(resolve.bundles_dir().glob(f"*/{_MARK}")):
        return None
    try:
        key = clusters.read(nodes).bundle
        if not (resolve.bundles_dir() / key / _MARK).is_file():
            return None
        (bundle,) = resolve.recorded(key)
    except (MammoctlError, ValueError):
        return None
    whole = all((bundle.store / file.path).is_file() for file in bundle.files)
    return bundle.key if whole else None


def problems(path: Path) -> tuple[Bundle, dict[str, str]]:
    """Compute every checksum of a bundle to carry; return it and what is wrong with its files.

    Raises:
        UsageError: there is none, or it is not for this mammoctl.
        BundleError: it cannot be read as one.
    """
    bundle, found = read(path), {}
    for file, problem in _checked(path, bundle, None):
        if problem:
            found[file.name] = problem
    whole = path.with_name(f"{path.name}.sha256")
    if path.is_file() and whole.is_file() and whole.read_text().split()[:1] != [sha256_of(path)]:
        found[path.name] = f"has not the sum in {whole.name}"
    return bundle, found


def opened(path: Path, store: Store | None = None) -> Bundle:
    """Take the files of a bundle to carry into the store, each after its sum was compared.

    Args:
        path: the folder or archive.
        store: the store; by default the one in mammoctl's cache folder.

    Raises:
        UsageError: there is no such bundle, or it is not for this mammoctl.
        BundleError: a file is missing, damaged or cut off, or there is no room.
    """
    store, bundle = store or Store(), read(path)
    require_complete(bundle, path)
    lacking = [file for file in bundle.files if store.get(file.sha256) is None]
    if lacking:
        store.require_space(sum(file.size for file in lacking) + 10_000_000)
        try:
            with store.writing() as scratch:
                wrong = {f.name: p for f, p in _checked(path, bundle, (store, scratch)) if p}
        except OSError as exc:
            raise BundleError(
                f"cannot take {path} into {store.root}: {exc.strerror or exc}",
                hint="check both disks, then run the same command again",
            ) from exc
        if wrong:
            raise BundleError(
                f"{len(wrong)} files of the bundle {path} are damaged or missing",
                details=[f"{name}: {problem}" for name, problem in sorted(wrong.items())][:10],
                hint=_AGAIN.format(name=path.name),
            )
    weights.recognise(store, bundle.target.sources.weights, bundle.files)
    taken = resolve.remember(replace(bundle, store=store.root))
    if lacking:
        (taken.path.parent / _MARK).touch()
    return taken


def require_complete(bundle: Bundle, path: Path) -> None:
    """Check that a bundle has all that this mammoctl installs.

    Raises:
        UsageError: a part is missing.
    """
    there = {file.kind for file in bundle.files}
    wanted = [environment.KIND, *(part.KIND for part in parts.wanted(bundle.target))]
    if lost := [kind for kind in wanted if kind not in there]:
        raise UsageError(
            f"{path} lacks what this mammoctl installs: {', '.join(lost)}",
            hint="it was made by an older one: make it anew with mammoctl bundle create --output",
        )


def _checked(
    path: Path, bundle: Bundle, into: tuple[Store, Path] | None
) -> Iterator[tuple[Artifact, str]]:
    """Yield each file of the bundle and what is wrong with it, '' for nothing."""
    left = {f"{STORE}/{file.path}": file for file in bundle.files}
    total = sum(file.size for file in bundle.files)
    doing = "taking in" if into else "verifying"
    with console.progress(transfer=True) as bars, _contents(path) as contents:
        bar = bars.add_task(doing, total=total)
        for name, stream in contents:
            file = left.pop(name, None)
            if file is None or stream is None:
                continue
            yield file, _take(stream, file, into)
            bars.advance(bar, file.size)
    for file in left.values():
        yield file, "missing"


def _take(stream: Any, file: Artifact, into: tuple[Store, Path] | None) -> str:
    digest = hashlib.sha256()
    target = into[1] / file.sha256 if into and into[0].get(file.sha256) is None else None
    with (target or Path(os.devnull)).open("wb") as out:
        try:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                out.write(chunk)
        except tarfile.ReadError:
            return "cut off"
    actual = digest.hexdigest()
    if actual == file.sha256 and into and target:
        into[0].add(target, file.sha256, name=file.name)
    return "" if actual == file.sha256 else f"has sha256 {actual}"


@contextmanager
def _contents(path: Path) -> Iterator[Iterator[tuple[str, Any]]]:
    """Yield (name, open stream) of each file of a folder or archive."""
    if path.is_dir():
        yield _of_folder(path)
        return
    with tarfile.open(path, "r:") as tar:
        yield _of_archive(tar)


def _of_folder(path: Path) -> Iterator[tuple[str, Any]]:
    for file in sorted((path / STORE).glob("*/*")):
        with file.open("rb") as stream:
            yield file.relative_to(path).as_posix(), stream


def _of_archive(tar: tarfile.TarFile) -> Iterator[tuple[str, Any]]:
    try:
        for member in tar:
            yield member.name, tar.extractfile(member) if member.isfile() else None
    except tarfile.ReadError:  # cut off: what is not there is told as missing
        return
