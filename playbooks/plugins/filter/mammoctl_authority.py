# SPDX-License-Identifier: Apache-2.0
"""Turns certificates' paths on the control machine into items for ``mammoctl_files``."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

FOLDER = "/usr/local/share/ca-certificates"


def source(path, folder):
    """Return where a certificate lies; a relative path begins at the inventory's folder."""
    return Path(folder) / Path(path).expanduser()


def authorities(paths, folder):
    """Return the items that make the PEM files a node's own authorities, and those of ours that are no more go.

    Files of one name in several folders are told apart by their contents.
    """
    texts = {source(path, folder): source(path, folder).read_text(encoding="utf-8") for path in paths}
    stems = Counter(found.stem for found in texts)
    items = {}
    for found, text in texts.items():
        mark = f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}" if stems[found.stem] > 1 else ""
        path = f"{FOLDER}/mammoctl-{found.stem}{mark}.crt"
        items[path] = {"path": path, "content": text, "mode": "0644"}
    return [*items.values(), {"path": f"{FOLDER}/mammoctl-*.crt", "state": "others_absent"}]


def missing(paths, folder):
    """Return the paths at which there is no file that can be read."""
    return [str(source(path, folder)) for path in paths if not source(path, folder).is_file()]


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_authorities": authorities, "mammoctl_missing_authorities": missing}
