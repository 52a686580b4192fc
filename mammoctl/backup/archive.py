"""One file of named parts with checksums: a tar whose first member says what the others are.

It holds secrets, so it is mode 0600 from its first byte on, and nothing of it is ever unpacked
under a name that it brings: callers ask for parts by theirs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mammoctl import __version__
from mammoctl.errors import MammoctlError, UsageError

SCHEMA = 1
MANIFEST = "manifest.json"
ABOUT = "Made by mammoctl. It holds secrets of the cluster: keep it as you keep keys."

_CHUNK = 1 << 20


class Damaged(MammoctlError):
    """A part is not as it was when the file was made."""


class Draft:
    """The parts of an archive in the making; they lie in a private folder until it is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: dict[str, Path] = {}

    def add(self, name: str, content: bytes | Path) -> None:
        """Add a part: bytes, or a file (as it is now)."""
        if isinstance(content, Path):
            self._parts[name] = content
        else:
            path = self.file()
            path.write_bytes(content)
            self._parts[name] = path

    def file(self) -> Path:
        """Return the path of a new file in the private folder, for a part that is fetched."""
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        os.close(descriptor)
        return Path(name)

    @property
    def names(self) -> list[str]:
        """The parts so far."""
        return sorted(self._parts)

    def write(self, target: Path, kind: str, about: Mapping[str, Any]) -> dict[str, Any]:
        """Write the archive, whole or not at all, and return its manifest."""
        manifest = {
            "schema": SCHEMA,
            "kind": kind,
            "about": ABOUT,
            "made_at": round(time.time(), 1),
            "mammoctl": __version__,
            **about,
            "parts": {
                name: {"bytes": self._parts[name].stat().st_size, "sha256": _sum(self._parts[name])}
                for name in self.names
            },
        }
        part = self.file()
        with part.open("wb") as stream:  # 0600: mkstemp made it
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
                tar.addfile(_member(MANIFEST, len(text)), io.BytesIO(text))
                for name in self.names:
                    path = self._parts[name]
                    with path.open("rb") as source:
                        tar.addfile(_member(name, path.stat().st_size), source)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
        return manifest


def require_free(target: Path) -> None:
    """See that an archive can be written to a place.

    Raises:
        UsageError: something is there already, or its folder is not.
    """
    if target.exists():
        raise UsageError(f"{target} is there already", hint="name another with --output")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", hint=f"mkdir -p {target.parent}")


@contextmanager
def draft(target: Path) -> Iterator[Draft]:
    """Yield an archive in the making, on the file system of ``target``.

    Raises:
        UsageError: ``target`` is there already, or its folder is not.
    """
    require_free(target)
    with tempfile.TemporaryDirectory(prefix=".mammoctl-", dir=target.parent) as folder:
        yield Draft(Path(folder))


class Archive:
    """An archive that was read through: every part is as its manifest says.

    Attributes:
        manifest: what was written with it.
    """

    def __init__(self, path: Path, kind: str) -> None:
        """Open and check an archive.

        Raises:
            UsageError: there is none, it is of another kind, or a newer mammoctl made it.
            Damaged: a part is missing or altered.
        """
        self.path = path
        try:
            self._tar = tarfile.open(path, mode="r:")  # noqa: SIM115  open for as long as this
        except FileNotFoundError:
            raise UsageError(f"there is no file {path}", hint="correct the path") from None
        except (tarfile.TarError, IsADirectoryError) as exc:
            raise _none(path, kind) from exc
        try:
            self.manifest = self._read_manifest(kind)
            self._check()
        except BaseException:
            self._tar.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._tar.close()

    @property
    def names(self) -> list[str]:
        """The names of the parts."""
        return sorted(self.manifest["parts"])

    def read(self, name: str) -> bytes:
        """Return a part."""
        with self.stream(name) as stream:
            return stream.read()

    def stream(self, name: str) -> IO[bytes]:
        """Open a part for reading."""
        stream = self._tar.extractfile(self._members[name])
        assert stream is not None  # noqa: S101  checked to be a file
        return stream

    def _read_manifest(self, kind: str) -> dict[str, Any]:
        try:
            first = self._tar.next()
            stream = self._tar.extractfile(first) if first and first.name == MANIFEST else None
            value: Any = json.loads(stream.read()) if stream else None
            schema, found = int(value["schema"]), str(value["kind"])
            parts = {str(k): (int(v["bytes"]), str(v["sha256"])) for k, v in value["parts"].items()}
        except (tarfile.TarError, ValueError, TypeError, KeyError, AttributeError) as exc:
            raise _none(self.path, kind) from exc
        if schema > SCHEMA:
            raise UsageError(
                f"{self.path} was made by mammoctl {value.get('mammoctl')}, in a newer format",
                hint="use that version of mammoctl, or a later one",
            )
        if found != kind:
            raise UsageError(f"{self.path} is {_kinds(found)}, not {_kinds(kind)}")
        self._parts = parts
        manifest: dict[str, Any] = value
        return manifest

    def _check(self) -> None:
        try:
            self._members = {m.name: m for m in self._tar.getmembers() if m.isreg()}
            wrong = [
                name
                for name, (size, total) in self._parts.items()
                if not self._is(name, size, total)
            ]
        except tarfile.TarError as exc:
            raise self._damaged(str(exc)) from exc
        if wrong:
            raise self._damaged(f"missing or altered: {', '.join(wrong)}")

    def _is(self, name: str, size: int, total: str) -> bool:
        member = self._members.get(name)
        if member is None or member.size != size:
            return False
        digest = hashlib.sha256()
        with self.stream(name) as stream:
            while data := stream.read(_CHUNK):
                digest.update(data)
        return digest.hexdigest() == total

    def _damaged(self, why: str) -> Damaged:
        return Damaged(
            f"{self.path} is damaged: {why}",
            hint="take another copy of it; nothing was changed",
        )


def _kinds(kind: str) -> str:
    return {
        "backup": "a backup of a cluster (mammoctl backup)",
        "access": "an access to a cluster (mammoctl access grant)",
    }.get(kind, f"of the kind {kind!r}")


def _none(path: Path, kind: str) -> UsageError:
    return UsageError(f"{path} is not {_kinds(kind)}", hint="name the file that was made by it")


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member


def _sum(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
