# SPDX-License-Identifier: Apache-2.0
"""Describes a folder of an account for ``mammoctl_files`` in one line of a task."""

from __future__ import annotations


def folder(name, base, user):
    """Return the item for the folder ``base + name``, which only ``user`` and its group may enter."""
    return {"path": base + name, "state": "directory", "owner": user, "group": user, "mode": "0750"}


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_folder": folder}
