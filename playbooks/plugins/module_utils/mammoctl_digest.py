# SPDX-License-Identifier: Apache-2.0
"""Checksums of files on a node."""

from __future__ import annotations

import hashlib


def digest(path):
    """Return the sha256 of a file in hexadecimal digits."""
    state = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()
