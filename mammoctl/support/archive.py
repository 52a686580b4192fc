"""The archive itself: texts that have been redacted, a list of contents, written whole or not."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mammoctl.errors import UsageError
from mammoctl.redaction import Redactor

CONTENTS = "CONTENTS.md"
MODE = 0o600


@dataclass(frozen=True)
class Entry:
    """A file of the archive: its path in it, what it is, its content."""

    path: str
    what: str
    content: str

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content.encode())


@dataclass
class Archive:
    """Collects files in memory; nothing is written down that has not been redacted.

    Args:
        folder: the one folder at the top of the archive.
        redactor: what every path, text and value goes through.
    """

    folder: str
    redactor: Redactor
    entries: list[Entry] = field(default_factory=list)

    def add(self, path: str, what: str, content: str) -> None:
        """Add a text."""
        clean = self.redactor.text
        self.entries.append(Entry(clean(path), clean(what), clean(content)))

    def add_json(self, path: str, what: str, document: Any) -> None:
        """Add a document; what is no plain value goes in as text."""
        plain = json.loads(json.dumps(document, default=str))
        text = json.dumps(self.redactor.value(plain), indent=2, sort_keys=True) + "\n"
        clean = self.redactor.text
        self.entries.append(Entry(clean(path), clean(what), text))

    def add_yaml(self, path: str, what: str, values: Any) -> None:
        """Add plain values as YAML."""
        import yaml

        plain = self.redactor.value(values)
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
        clean = self.redactor.text
        self.entries.append(Entry(clean(path), clean(what), text))

    def write(self, target: Path, contents: Callable[[list[Entry]], str], when: float) -> str:
        """Write the archive (mode 0600) and return its sha256.

        Args:
            target: where; there is nothing yet.
            contents: makes the list of contents of the sorted files, itself redacted.
            when: the files' time, in unix seconds.
        """
        self.entries.sort(key=lambda one: one.path)
        listed = Entry(CONTENTS, "this list", contents(self.entries))
        with _whole(target) as part:
            with (
                os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE), "wb") as out,
                tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as tar,
            ):
                for entry in [listed, *self.entries]:
                    about = tarfile.TarInfo(f"{self.folder}/{entry.path}")
                    data = entry.content.encode()
                    about.size, about.mtime, about.mode = len(data), int(when), MODE
                    tar.addfile(about, io.BytesIO(data))
            digest = hashlib.sha256(part.read_bytes()).hexdigest()
        self.entries.insert(0, listed)
        return digest


def require_room(target: Path) -> None:
    """Refuse a place that cannot be written to, before anything is collected.

    Raises:
        UsageError: something is there already, or the folder is missing or not writable.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder", hint=f"name a file: --output {target}/NAME")
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} is there already", hint="choose another name with --output")
    if not target.parent.is_dir():
        raise UsageError(
            f"there is no folder {target.parent}", hint="make it, or choose another --output"
        )
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{target.parent} cannot be written to", hint="choose another place with --output"
        )


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Yield a path beside the target that becomes it at the end, unless something fails."""
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield part
        try:
            os.link(part, target)  # what came there meanwhile is not written over
        except PermissionError:  # a file system without links
            part.rename(target)
    finally:
        part.unlink(missing_ok=True)
