# SPDX-License-Identifier: Apache-2.0
"""Describes units for ``mammoctl_service`` and ``mammoctl_files`` in one line of a task."""

from __future__ import annotations


def unit_file(name):
    """Return where the unit ``name`` (without suffix) is described."""
    return f"/etc/systemd/system/{name}.service"


def left(names, wanted, paths):
    """Return the units among ``names`` that are there and not wanted.

    Args:
        names: all that a role may lay down.
        wanted: those that it lays down here.
        paths: path -> what lies there, or None (``mammoctl_facts``).
    """
    return [name for name in names if name not in wanted and paths.get(unit_file(name)) is not None]


def no_file(name, base=""):
    """Return the item for ``mammoctl_files`` that removes the file ``base + name``."""
    return {"path": base + name, "state": "absent"}


def no_unit(name):
    """Return the item that removes the file of the unit ``name``."""
    return no_file(unit_file(name))


def unit(name, files, ready, check_changed):
    """Return the description of the unit ``name`` (without suffix).

    Args:
        name: the unit.
        files: what the services of the role read when they start, besides the unit file.
        ready: name -> list of HOST:PORT that must answer.
        check_changed: whether the files would change, in check mode.
    """
    return {
        "name": f"{name}.service",
        "files": [unit_file(name), "/opt/mammoctl/env", *files],
        "ready": ready.get(name, []),
        "check_changed": check_changed,
    }


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return name -> function."""
        return {
            "mammoctl_left": left,
            "mammoctl_no_file": no_file,
            "mammoctl_no_unit": no_unit,
            "mammoctl_unit": unit,
            "mammoctl_unit_file": unit_file,
        }
