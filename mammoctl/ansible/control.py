"""The Ansible of the control machine: what it can manage."""

from __future__ import annotations

import re
from importlib.metadata import version

from mammoctl.bundle import versions


def core_version() -> str:
    """Return the version of ansible-core beside mammoctl."""
    return version("ansible-core")


def too_new(python: str) -> str:
    """Return why this machine's Ansible cannot manage a host with Python ``python``; else ''.

    Args:
        python: the minor version of the host's own Python, such as ``3.14``.
    """
    release = ".".join(core_version().split(".")[:2])
    newest = versions.load()["ansible_core"].get(release)
    if newest is None or _ordered(python) <= _ordered(newest):
        return ""
    limits = versions.load()["ansible_core"].items()
    able = [name for name, limit in limits if _ordered(limit) >= _ordered(python)]
    mend = (
        "install mammoctl here with Python 3.12 or later (make clean; PYTHON=python3.13 "
        f"scripts/bootstrap): it brings ansible-core {able[0]} or later"
        if able
        else "take the host out of the inventory"
    )
    return (
        f"its own Python is {python}, which ansible-core {core_version()} on this machine cannot "
        f"manage (up to {newest}): {mend}"
    )


def _ordered(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))
