# SPDX-License-Identifier: Apache-2.0
"""Turns a certificate's path on the control machine into an item for ``mammoctl_files``."""

from __future__ import annotations

from pathlib import Path


def authority(path):
    """Return the item that puts the PEM file at ``path`` among a node's own authorities."""
    source = Path(path).expanduser()
    return {
        "path": f"/usr/local/share/ca-certificates/mammoctl-{source.stem}.crt",
        "content": source.read_text(encoding="utf-8"),
        "mode": "0644",
    }


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_authority": authority}
