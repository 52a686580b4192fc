"""Read the nodes' locks: hashed requirements files with exactly one file per requirement."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mammoctl import paths
from mammoctl.errors import BundleError, UsageError

_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[a-z,-]+\])?==(?P<version>[^\s\\;]+)"
    r"\s*\\?\s*--hash=sha256:(?P<sha256>[0-9a-f]{64})$"
)
FILES = "node-files.json"


@dataclass(frozen=True)
class Pin:
    """One requirement of a lock and the only file that satisfies it.

    Attributes:
        name: the distribution's normalised name.
        version: its exact version.
        sha256: the checksum of the file.
        file: the file's name.
        size: bytes; 0 where the index did not say.
    """

    name: str
    version: str
    sha256: str
    file: str
    size: int

    @property
    def is_source(self) -> bool:
        """Tell whether the file is a source distribution, to be built here once."""
        return not self.file.endswith(".whl")

    def line(self) -> str:
        """Return the pin as a line of a requirements file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def folder() -> Path:
    """Return the folder of the locks."""
    return paths.project_root() / "locks"


def lock_name(python: str, arch: str, variant: str) -> str:
    """Return the name of the lock for one minor version of Python, architecture and variant."""
    return f"node-py{python}-{arch}-{variant}.txt"


@cache
def _files(where: Path) -> dict[str, tuple[str, int]]:
    try:
        data = json.loads((where / FILES).read_text())
    except (OSError, ValueError) as exc:
        raise BundleError(
            f"cannot read {where / FILES}: {exc}",
            hint="the installation is damaged: install mammoctl again"
            if where == folder()
            else "make the cluster's locks again: mammoctl bundle lock -i NAME",
        ) from exc
    return {sha256: (entry["name"], entry.get("size", 0)) for sha256, entry in data.items()}


def parse(text: str, files: dict[str, tuple[str, int]], where: str) -> list[Pin]:
    """Return the pins of a lock.

    Args:
        text: the lock.
        files: name and size of each file by its sha256.
        where: what to call the lock in an error.

    Raises:
        BundleError: a line is no pin with exactly one sha256, or its file is not known.
    """
    pins = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _PIN.match(" ".join(line.split()))
        if match is None or match["sha256"] not in files:
            raise BundleError(
                f"{where} has a line that is not one pinned file: {line.strip()[:80]}",
                hint="make the locks again: mammoctl bundle lock",
            )
        name, size = files[match["sha256"]]
        pins.append(Pin(match["name"], match["version"], match["sha256"], name, size))
    return pins


def read(python: str, arch: str, variant: str, where: Path | None = None) -> list[Pin]:
    """Return the pins for one target.

    Args:
        python: the minor version, such as ``3.11``.
        arch: the architecture.
        variant: ``cpu`` or ``gpu``.
        where: the folder of a cluster's own locks; by default the project's.

    Raises:
        UsageError: there is no lock for the target.
        BundleError: the lock is malformed.
    """
    where = where or folder()
    path = where / lock_name(python, arch, variant)
    if not path.is_file():
        have = sorted(p.stem.removeprefix("node-") for p in where.glob("node-py*.txt"))
        raise UsageError(
            f"no locked environment for Python {python} on {arch} ({variant})",
            hint=f"there are: {', '.join(have)}",
        )
    return parse(path.read_text(), _files(where), path.name)
