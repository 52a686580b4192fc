# SPDX-License-Identifier: Apache-2.0
"""Describes the folder of an account, on a node or in HDFS, in one line of a task."""

from __future__ import annotations


def folder(name, base, user, mode="0750"):
    """Return the item for the folder ``base + name``, which only ``user`` and its group may enter."""
    return {"path": base + name, "state": "directory", "owner": user, "group": user, "mode": mode}


def hdfs_home(user):
    """Return the description of the folder that ``user`` has in HDFS, for ``mammoctl_hdfs``."""
    return {"path": "/user/" + user, "owner": user, "group": user, "mode": "0750"}


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_folder": folder, "mammoctl_hdfs_home": hdfs_home}
