"""A frozen backbone's weights: given as a file, or fetched from where Keras publishes them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import console
from mammoctl.errors import BundleError

if TYPE_CHECKING:
    from mammoctl.bundle.fetch import Job
    from mammoctl.bundle.model import Artifact
    from mammoctl.bundle.process import Runner
    from mammoctl.bundle.store import Store, Stored

KIND = "weights"
_SUMS = "SHA256SUMS"
_CHOICES = (
    "give a file with --weights PATH, or train without pretrained weights with --weights none "
    "(the predictions then mean nothing)"
)


@dataclass(frozen=True)
class Weights:
    """A file of weights that has been checked.

    Attributes:
        path: the file.
        sha256: its checksum in hexadecimal.
        name: its name.
    """

    path: Path
    sha256: str
    name: str


def ensure_weights(
    source: str | Path,
    backbone: str,
    sha256: str | None = None,
    *,
    progress: bool = True,
    store: Store | None = None,
) -> Weights | None:
    """Return checked weights for ``backbone``, or None for ``none``.

    A file is compared with ``sha256`` if given, else with ``SHA256SUMS`` beside it if that lists
    it, else with the published weights that are known by name. A file that none of these knows
    is accepted and its sum is noted.

    Args:
        source: ``imagenet``, ``none``, or the path of an HDF5 file.
        backbone: the application's name of the backbone, such as ``vgg16``.
        sha256: the sum that the file must have.
        progress: show a bar on a terminal while downloading.
        store: where downloads are kept; by default the one in mammoctl's cache folder.

    Raises:
        BundleError: no such file, not a complete HDF5 file, another sum than expected, weights of
            another backbone, or weights that cannot be downloaded.
    """
    from mammoctl.bundle import versions

    if str(source) == "none":
        return None
    table = versions.load()["weights"]
    if str(source) == "imagenet":
        return _published(table["imagenet"], backbone, sha256, progress=progress, store=store)
    return _given(Path(source).expanduser(), table["known"], backbone, sha256)


def _given(
    path: Path, known: Mapping[str, Mapping[str, str]], backbone: str, sha256: str | None
) -> Weights:
    from mammoctl.bundle import hdf5
    from mammoctl.bundle.store import sha256_of

    try:
        if not path.is_file():
            what = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise BundleError(
                f"the weights file {path} {what}", hint=f"check the path, or {_CHOICES}"
            )
        problem = hdf5.problem(path)
        actual = sha256_of(path)
        expected, origin = _expected(path, known, sha256)
    except OSError as exc:
        raise BundleError(
            f"cannot read the weights file {path}: {exc.strerror}", hint="check its permissions"
        ) from exc
    if expected is not None and actual != expected:
        raise _wrong_sum(path, expected, actual, origin)
    if problem is not None:
        raise BundleError(
            f"the weights file {path} {problem}",
            hint="copy it again; it must be what Keras' save_weights wrote (.weights.h5, .h5)",
        )
    of = known.get(actual, {}).get("backbone", backbone)
    if of != backbone:
        raise BundleError(
            f"{path} holds weights of {of}, not of {backbone}", hint=f"use --backbone {of}"
        )
    if expected is None and actual not in known:
        console.note(f"weights {path.name}: no checksum to compare with; sha256 {actual}")
    return Weights(path.absolute(), actual, path.name)


def _expected(
    path: Path, known: Mapping[str, Mapping[str, str]], sha256: str | None
) -> tuple[str | None, str]:
    """Return the sum that the file must have, and who says so."""
    if sha256 is not None:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
            raise BundleError(
                f"not a sha256: {sha256}", hint="it has 64 hexadecimal digits (sha256sum FILE)"
            )
        return sha256.lower(), "the sum given"
    sums = path.parent / _SUMS
    if sums.is_file():
        for line in sums.read_text(errors="replace").splitlines():
            match = re.fullmatch(r"\\?([0-9a-fA-F]{64})[ \t][ *](.+?)\s*", line)
            if match and Path(match[2]).name == path.name and Path(match[2]).parent == Path():
                return match[1].lower(), str(sums)
    for known_sum, entry in known.items():
        if entry["name"] == path.name:
            return known_sum, "the published file of this name"
    return None, ""


def _wrong_sum(path: Path, expected: str, actual: str, origin: str) -> BundleError:
    return BundleError(
        f"the weights file {path} has the wrong checksum",
        hint="copy it again, or correct the sum; other weights need a name of their own",
        details=[f"expected sha256 {expected} ({origin})", f"actual   sha256 {actual}"],
    )


def _published(
    table: Mapping[str, Mapping[str, Any]],
    backbone: str,
    sha256: str | None,
    *,
    progress: bool,
    store: Store | None,
) -> Weights:
    from mammoctl.bundle.store import Store

    entry = _pinned(table, backbone)
    store = store or Store()
    key = _derivation(backbone, entry)
    stored = store.derived(key)
    if stored is None:
        with store.writing() as scratch:
            stored = store.derived(key) or store.add_derived(
                key, _download(entry, backbone, store, scratch, progress=progress)
            )
    if sha256 is not None and stored.sha256 != sha256.lower():
        raise _wrong_sum(stored.path, sha256.lower(), stored.sha256, "the sum given")
    return Weights(stored.path, stored.sha256, stored.name)


def _pinned(table: Mapping[str, Mapping[str, Any]], backbone: str) -> Mapping[str, Any]:
    if backbone not in table:
        raise BundleError(
            f"no published ImageNet weights are pinned for {backbone}",
            hint=f"{_CHOICES[0].upper()}{_CHOICES[1:]}; pinned are: {', '.join(sorted(table))}",
        )
    return table[backbone]


def _derivation(backbone: str, entry: Mapping[str, Any]) -> str:
    return f"weights-{backbone}-{entry['md5']}"


def published(store: Store, backbone: str) -> Stored | None:
    """Return the published weights of a backbone where the store has them, or None.

    Raises:
        BundleError: none are pinned for it.
    """
    from mammoctl.bundle import versions

    entry = _pinned(versions.load()["weights"]["imagenet"], backbone)
    return store.derived(_derivation(backbone, entry))


def job(store: Store, backbone: str) -> Job:
    """Return the job that brings the published weights of a backbone into the store.

    Raises:
        BundleError: none are pinned for it.
    """
    from mammoctl.bundle import versions
    from mammoctl.bundle.fetch import Job

    entry = _pinned(versions.load()["weights"]["imagenet"], backbone)

    def work(folder: Path, _runner: Runner) -> None:
        path = _download(entry, backbone, store, folder, progress=False)
        store.add_derived(_derivation(backbone, entry), path)

    return Job(title=f"weights of {backbone}", size=int(entry["size"]), work=work)


def recognise(store: Store, backbones: Sequence[str], files: Sequence[Artifact]) -> None:
    """Let the weights that a carried bundle brought be found as the published ones.

    A file that is not the pinned one is left a file without a name.
    """
    from mammoctl.bundle import versions

    table = versions.load()["weights"]["imagenet"]
    for file in files:
        stored = store.get(file.sha256) if file.kind == KIND else None
        if stored is None:
            continue
        with stored.path.open("rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        for backbone in backbones:
            if backbone in table and table[backbone]["md5"] == md5:
                store.remember(_derivation(backbone, table[backbone]), file.sha256)


def _download(
    entry: Mapping[str, Any], backbone: str, store: Store, scratch: Path, *, progress: bool
) -> Path:
    from mammoctl.bundle.download import download

    path = scratch / str(entry["url"]).rsplit("/", 1)[-1]
    store.require_space(int(entry["size"]) * 2)
    try:
        download(entry["url"], path, size=entry["size"], progress=progress)
    except BundleError as exc:
        raise BundleError(
            f"the ImageNet weights of {backbone} cannot be downloaded",
            hint=_CHOICES,
            details=[exc.message, *exc.details],
        ) from exc
    with path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "md5").hexdigest()
    # Keras publishes an md5; what is remembered from here on is the sha256.
    if actual != entry["md5"]:
        raise BundleError(
            f"the downloaded ImageNet weights of {backbone} do not have the checksum that Keras "
            "pins; the file was removed",
            hint=_CHOICES,
            details=[f"expected md5 {entry['md5']}", f"actual   md5 {actual}"],
        )
    return path
