# SPDX-License-Identifier: Apache-2.0
"""The record, on each node, of what mammoctl put there: teardown removes this and nothing else."""

from __future__ import annotations

import json
import os
import tempfile

PATH = "/var/lib/mammoctl/manifest.json"
# trees: folders that are ours with all that is in them; directories: folders on the way there, removed when empty.
# holds: packages that were told to stay at their version.
KINDS = ("packages", "holds", "users", "directories", "trees", "files", "blocks")


def load(path: str = PATH) -> dict[str, list[str]]:
    """Return kind -> names in the order of their making; empty lists before the first record."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except FileNotFoundError:
        found = {}
    return {kind: list(found.get(kind, [])) for kind in KINDS}


def record(kind: str, names: list[str], path: str = PATH) -> None:
    """Add ``names`` to the record of ``kind``; written atomically, only when something is new."""
    known = load(path)
    new = [name for name in names if name not in known[kind]]
    if not new:
        return
    known[kind].extend(new)
    save(known, path)


def save(manifest: dict[str, list[str]], path: str = PATH) -> None:
    """Write the whole record atomically (0644: it holds names only)."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o755)
        os.chmod(folder, 0o755)
        if folder not in manifest["directories"]:
            manifest["directories"].insert(0, folder)
    handle, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(manifest, stream, indent=1, sort_keys=True)
        stream.write("\n")
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
