# SPDX-License-Identifier: Apache-2.0
"""What earlier bundles have left on a node and nothing needs any more."""

from __future__ import annotations

import os
import re


def named_by_keys(folder):
    """Return the names in a folder that are keys, or two keys joined by a dash."""
    try:
        return sorted(name for name in os.listdir(folder) if re.fullmatch(r"[0-9a-f]{16}(-[0-9a-f]{16})?", name))
    except OSError:
        return []


def superfluous(envs, interpreters, needed):
    """Return the folders of environments and interpreters that none of the environments ``needed`` is or needs.

    An environment's key is that of its requirements, followed by that of its managed interpreter if it has one.
    """
    bases = {key.partition("-")[2] for key in needed}
    old = [os.path.join(envs, name) for name in named_by_keys(envs) if name not in needed]
    return old + [os.path.join(interpreters, name) for name in named_by_keys(interpreters) if name not in bases]


def unnamed(roots, text):
    """Return the keyed folders below ``roots`` that ``text`` does not name, where it names one beside them."""
    found = []
    for root in roots:
        paths = [os.path.join(root, name) for name in named_by_keys(root)]
        unused = [path for path in paths if path not in text]
        found += unused if len(unused) < len(paths) else []  # better too many than one too few
    return found
