# SPDX-License-Identifier: Apache-2.0
"""Describes a unit for ``mammoctl_service`` in one line of a task."""

from __future__ import annotations


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
        "files": [f"/etc/systemd/system/{name}.service", "/opt/mammoctl/env", *files],
        "ready": ready.get(name, []),
        "check_changed": check_changed,
    }


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_unit": unit}
