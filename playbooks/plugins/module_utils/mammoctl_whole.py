# SPDX-License-Identifier: Apache-2.0
"""Folders that are complete or not there: made beside their place, marked, and moved there."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile

MARKER = ".complete"


def is_complete(place):
    """Tell whether a folder was made to its end."""
    return os.path.isfile(os.path.join(place, MARKER))


@contextlib.contextmanager
def made_whole(place):
    """Yield an empty folder that takes the place of ``place`` when the block ends well, and goes when it does not."""
    os.umask(0o022)
    root = os.path.dirname(place)
    os.makedirs(root, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=".new-", dir=root)
    try:
        yield folder
        os.chmod(folder, 0o755)
        with open(os.path.join(folder, MARKER), "w", encoding="utf-8") as stream:
            os.fsync(stream.fileno())
        shutil.rmtree(place, ignore_errors=True)
        os.rename(folder, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
