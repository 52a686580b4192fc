"""The content-addressed store: each file under its sha256, complete and verified or not at all.

store/<sha256>/<name>      the files
store/.index/<sha256>      size and time of the file when its sum was last computed
store/.derived/<key>       the sum of what was made here from other files (PySpark's wheel)
store/.tmp/                unfinished work; emptied whenever the store is opened for writing
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mammoctl import console, files, paths
from mammoctl.errors import BundleError

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A verified file in the store; ``size`` in bytes."""

    path: Path
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.path.name

    @property
    def relative(self) -> str:
        """Return the path relative to the store."""
        return f"{self.sha256}/{self.path.name}"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store:
    """Files by their sha256.

    Args:
        root: the store's folder; by default ``store`` in mammoctl's cache folder.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or paths.cache_dir() / "store").absolute()

    def get(self, sha256: str) -> Stored | None:
        """Return the file with this sum, or None.

        The sum is not computed again while size and modification time are those recorded when it
        was; otherwise it is, and a file that is not what its folder says is removed.
        """
        path = self._file(sha256)
        if path is None:
            return None
        status = path.stat()
        try:
            recorded = json.loads((self.root / ".index" / sha256).read_text())
        except (OSError, ValueError):
            recorded = None
        if recorded != [path.name, status.st_size, status.st_mtime_ns]:
            if sha256_of(path) != sha256:
                console.warn(f"{path} is damaged: removed, it will be fetched again")
                shutil.rmtree(path.parent)
                return None
            self._record(path, sha256)
        return Stored(path, sha256, status.st_size)

    def add(self, path: Path, sha256: str | None = None, *, name: str | None = None) -> Stored:
        """Move a file from the same file system into the store.

        Args:
            path: the file; it is gone afterwards, also when its sum is wrong.
            sha256: the sum it must have; computed and believed when None.
            name: the name in the store; by default its present one.

        Raises:
            BundleError: the file has another sum.
        """
        actual = sha256_of(path)
        if sha256 is not None and actual != sha256:
            path.unlink()
            raise mismatch(name or path.name, sha256, actual)
        folder = self._folder(actual)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / (name or path.name)
        path.chmod(0o644)
        path.replace(target)
        for other in folder.iterdir():
            if other != target:
                other.unlink()
        self._record(target, actual)
        return Stored(target, actual, target.stat().st_size)

    def add_text(self, text: str, name: str) -> Stored:
        """Put a small text file into the store."""
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        if (stored := self.get(sha256)) is not None and stored.name == name:
            return stored
        target = self._folder(sha256) / name
        files.write(target, text)
        self._record(target, sha256)
        return Stored(target, sha256, target.stat().st_size)

    def derived(self, key: str) -> Stored | None:
        """Return the file that was made here under ``key``, or None."""
        try:
            sha256 = (self.root / ".derived" / key).read_text().strip()
        except OSError:
            return None
        return self.get(sha256)

    def add_derived(self, key: str, path: Path, *, name: str | None = None) -> Stored:
        """Move a file made here into the store and remember it under ``key``."""
        stored = self.add(path, name=name)
        self.remember(key, stored.sha256)
        return stored

    def remember(self, key: str, sha256: str) -> None:
        """Let a file of the store be found under ``key`` (`derived`)."""
        files.write(self.root / ".derived" / key, sha256 + "\n")

    def verify(self, sha256: str) -> str | None:
        """Compute a file's sum again; return what is wrong with it, or None.

        A damaged file is removed.
        """
        path = self._file(sha256)
        if path is None:
            return "missing"
        actual = sha256_of(path)
        if actual != sha256:
            shutil.rmtree(path.parent)
            return f"has sha256 {actual}; removed"
        self._record(path, sha256)
        return None

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Hold the store for writing; yield an empty folder for unfinished work.

        A second run waits here until the first one has finished, and then finds its files.

        Raises:
            BundleError: the store cannot be written.
        """
        from filelock import FileLock, Timeout

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                console.note(f"another mammoctl fills {self.root}; waiting for it")
                lock.acquire()
        except OSError as exc:
            raise BundleError(
                f"cannot write the artifact store {self.root}: {exc.strerror}",
                hint="point MAMMOCTL_CACHE_DIR to a folder of your own",
            ) from exc
        unfinished = self.root / ".tmp"
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(exist_ok=True)
            # A name of its own: a program that outlived a killed run may still write to the old.
            yield Path(tempfile.mkdtemp(dir=unfinished))
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            lock.release()

    def require_space(self, needed: int) -> None:
        """Check that the store's file system has ``needed`` bytes free.

        Raises:
            BundleError: it has not.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise BundleError(
                f"not enough space for the bundle in {self.root}: "
                f"{human(needed)} needed, {human(free)} free",
                hint="free some, or point MAMMOCTL_CACHE_DIR to a larger disk",
            )

    def _folder(self, sha256: str) -> Path:
        return self.root / sha256

    def _file(self, sha256: str) -> Path | None:
        """Return the only file under a sum; hidden names are unfinished ones."""
        found = [p for p in self._folder(sha256).glob("[!.]*") if p.is_file()]
        return found[0] if len(found) == 1 else None

    def _record(self, path: Path, sha256: str) -> None:
        status = path.stat()
        record = json.dumps([path.name, status.st_size, status.st_mtime_ns])
        files.write(self.root / ".index" / sha256, record)


def mismatch(name: str, expected: str, actual: str) -> BundleError:
    """Return the error for a file that is not the pinned one."""
    return BundleError(
        f"{name} does not have its pinned checksum; it was removed",
        hint="run the same command again; if it stays so, what serves the file has changed it",
        details=[f"expected sha256 {expected}", f"actual   sha256 {actual}"],
    )


def human(size: float) -> str:
    """Return a number of bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
