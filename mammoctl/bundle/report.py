"""What a bundle consists of, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mammoctl import console
from mammoctl.bundle.model import Artifact, Bundle
from mammoctl.bundle.store import human


def _parts(files: Iterable[Artifact]) -> dict[str, dict[str, int]]:
    """Return number and bytes of the files of each kind."""
    parts: dict[str, dict[str, int]] = {}
    for file in files:
        part = parts.setdefault(file.kind, {"files": 0, "bytes": 0})
        part["files"] += 1
        part["bytes"] += file.size
    return parts


def summary(bundle: Bundle) -> dict[str, Any]:
    """Return what a bundle is and how large its parts are, for JSON."""
    return {
        "schema": 1,
        "key": bundle.key,
        "path": bundle.path,
        "store": bundle.store,
        "target": {
            "python": bundle.target.python,
            "arch": bundle.target.arch,
            "variants": list(bundle.target.variants),
            "packages": list(bundle.target.sources.packages),
        },
        "files": len(bundle.files),
        "bytes": bundle.size,
        "parts": _parts(bundle.files),
    }


def show(bundle: Bundle) -> None:
    """Print a bundle's parts and their sizes."""
    rows = [
        (kind, part["files"], human(part["bytes"]))
        for kind, part in sorted(_parts(bundle.files).items(), key=lambda p: -p[1]["bytes"])
    ]
    rows.append(("together", len(bundle.files), human(bundle.size)))
    console.table(f"Bundle {bundle.key}: {bundle.target}", ["part", "files", "size"], rows)
