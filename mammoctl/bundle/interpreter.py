"""A managed interpreter: a relocatable CPython that the nodes get at one path.

The pinned one is the build that uv itself installs. A team may give an archive of its own
(``python_archive``, ``--interpreter``), made by ``scripts/interpreter-archive`` or fetched
elsewhere: a gzipped tar with the one folder ``python``, as that build is packed.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from mammoctl.bundle import download, versions
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Bundle, Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store, Stored, sha256_of
from mammoctl.errors import BundleError, UsageError

KIND = "interpreter"

MIRROR = "UV_PYTHON_INSTALL_MIRROR"
_UPSTREAM = "https://github.com/astral-sh/python-build-standalone/releases/download"
_ABOUT = 30_000_000  # bytes; for the progress bar: uv's list has no sizes
_MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine of an ELF header
_GLIBC = re.compile(rb"\x00GLIBC_2\.(\d+)(?:\.\d+)?(?=\x00)")
_CHOICES = (
    f"set {MIRROR} to a mirror of python-build-standalone's releases (https:// or file://), or "
    "give an archive of your own: python_archive in the inventory, `mammoctl bundle create "
    "--interpreter` (scripts/interpreter-archive makes one)"
)


@dataclass(frozen=True)
class Interpreter:
    """A managed interpreter.

    Attributes:
        python: its minor version, such as ``3.12``.
        arch: the architectures that it is there for.
        glibc: the oldest C library that it runs on, such as ``2.17``.
        sha256: an own archive's checksum; empty for the pinned one.
    """

    python: str
    arch: tuple[str, ...]
    glibc: str
    sha256: str = ""


def variants(target: Target) -> tuple[str, ...]:
    """Return the variants whose nodes need it: all, where the interpreter is managed."""
    return target.variants if target.sources.interpreter == "managed" else ()


def stored(store: Store, target: Target) -> Stored | None:
    """Return the archive, or None."""
    return store.get(target.sources.interpreter_sha256 or _pin(target.arch)[1])


def job(store: Store, target: Target) -> Job:
    """Return the job that fetches the pinned archive from upstream or the mirror.

    Raises:
        BundleError: the target wants an own archive, which the store no longer has.
    """
    if own := target.sources.interpreter_sha256:
        raise BundleError(
            f"the archive of the interpreter (sha256 {own}) is not in {store.root}",
            hint="name the file again: python_archive in the inventory, "
            "or `mammoctl bundle create --interpreter FILE`",
        )
    name, sha256 = _pin(target.arch)
    source = url(name)

    def work(folder: Path, _runner: Runner) -> None:
        local = folder / name
        try:
            if urlsplit(source).scheme == "file":
                shutil.copyfile(unquote(urlsplit(source).path), local)
            else:
                download.download(source, local, size=None, progress=False)
        except (BundleError, OSError) as exc:
            reason = exc.message if isinstance(exc, BundleError) else str(exc)
            raise BundleError(
                f"the nodes' interpreter cannot be fetched: {name}", hint=_CHOICES, details=[reason]
            ) from exc
        store.add(local, sha256)

    return Job(title=name, size=_ABOUT, work=work)


def url(name: str) -> str:
    """Return where the pinned archive ``name`` comes from, a mirror as uv knows it included."""
    release = name.partition("+")[2].partition("-")[0]
    base = os.environ.get(MIRROR) or _UPSTREAM
    return f"{base.rstrip('/')}/{release}/{quote(name)}"


def pinned() -> Interpreter:
    """Return the interpreter that ``versions.yml`` pins."""
    managed = versions.load()["python"]["managed"]
    version: str = managed["default"]
    arches = tuple(managed["sha256"][version])
    return Interpreter(version.rpartition(".")[0], arches, managed["glibc"])


def brought(bundle: Bundle) -> Interpreter | None:
    """Return the managed interpreter that a bundle brings, or None."""
    if bundle.target.sources.interpreter != "managed":
        return None
    file = next(file for file in bundle.files if file.kind == KIND)
    found = _own(file.name, file.sha256)
    return found or Interpreter(
        bundle.target.python, (bundle.target.arch,), pinned().glibc, file.sha256
    )


def _pin(arch: str) -> tuple[str, str]:
    """Return name and checksum of the pinned archive for ``arch``."""
    managed = versions.load()["python"]["managed"]
    version = managed["default"]
    name = f"cpython-{version}-{arch}-unknown-linux-gnu-install_only_stripped.tar.gz"
    return name, managed["sha256"][version][arch]


def adopt(store: Store, path: Path) -> Interpreter:
    """Take an archive of the user's own into the store, after looking at what it holds.

    Its name in the store tells the roles what it needs: ``cpython-3.12-x86_64-glibc2.35.tar.gz``.

    Raises:
        UsageError: there is no such file, or it holds no interpreter that nodes can use.
        BundleError: the store cannot be written.
    """
    if not path.is_file():
        raise UsageError(f"there is no archive of an interpreter at {path}", hint=_CHOICES)
    sha256 = sha256_of(path)
    there = store.get(sha256)
    if there is not None and (known := _own(there.name, sha256)) is not None:
        return known
    found = inspect(path, sha256)
    store.require_space(path.stat().st_size)
    with store.writing() as scratch:
        copy = scratch / "interpreter"
        shutil.copyfile(path, copy)
        store.add(
            copy, sha256, name=f"cpython-{found.python}-{found.arch[0]}-glibc{found.glibc}.tar.gz"
        )
    return found


def _own(name: str, sha256: str) -> Interpreter | None:
    match = re.fullmatch(r"cpython-(3\.\d+)-(\w+)-glibc(2\.\d+)\.tar\.gz", name)
    return Interpreter(match[1], (match[2],), match[3], sha256) if match else None


def inspect(path: Path, sha256: str) -> Interpreter:
    """Read from an archive's programs and libraries what the interpreter is and needs.

    Raises:
        UsageError: it is no such archive, or one for a Python or a processor that is not supported.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            minors, arches, glibc = _survey(archive)
    except (tarfile.TarError, OSError, EOFError) as exc:
        raise UsageError(
            f"{path} cannot be read as an archive of an interpreter: {exc}", hint=_CHOICES
        ) from exc
    supported = versions.python_minors()
    if len(minors) != 1 or len(arches) != 1:
        found = ", ".join(sorted(minors)) or "none", ", ".join(sorted(arches)) or "none"
        raise UsageError(
            f"{path} does not hold one CPython below the folder `python` (python/bin/python3.N)",
            details=[f"versions: {found[0]}; processors: {found[1]}"],
            hint=_CHOICES,
        )
    (python,), (arch,) = minors, arches
    if python not in supported:
        raise UsageError(
            f"{path} holds Python {python}, for which there is no locked environment",
            hint=f"give an archive of one of {', '.join(supported)}",
        )
    return Interpreter(python, (arch,), f"2.{glibc}", sha256)


def _survey(archive: tarfile.TarFile) -> tuple[set[str], set[str], int]:
    """Return minor versions, architectures, and the minor version of the glibc that is needed."""
    minors, arches, glibc = set(), set(), 0
    for name, content in _binaries(archive):
        if match := re.fullmatch(r"python/bin/python(3\.\d+)", name):
            minors.add(match[1])
            arches.add(_MACHINES.get(struct.unpack_from("<H", content, 18)[0], "another processor"))
        glibc = max([glibc, *(int(found[1]) for found in _GLIBC.finditer(content))])
    return minors, arches, glibc


def _binaries(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        name = str(PurePosixPath(member.name))
        stream = archive.extractfile(member) if member.isfile() else None
        if stream is not None and (head := stream.read(64)).startswith(b"\x7fELF"):
            yield name, head + stream.read()
