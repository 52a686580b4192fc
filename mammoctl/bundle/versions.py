"""The pinned versions and checksums that are not in a lock, and what each release brings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mammoctl import paths
from mammoctl.errors import BundleError


def path() -> Path:
    """Return the file with the pinned versions."""
    return paths.project_root() / "playbooks" / "group_vars" / "all" / "versions.yml"


@cache
def load() -> dict[str, Any]:
    """Return ``mammoctl_versions``: the same map that the playbooks see.

    Raises:
        BundleError: the file is missing or malformed.
    """
    import yaml

    try:
        versions: dict[str, Any] = yaml.safe_load(path().read_text())["mammoctl_versions"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as exc:
        raise BundleError(
            f"cannot read the pinned versions in {path()}: {exc}",
            hint="the installation is damaged: install mammoctl again",
        ) from exc
    return versions


def python_minors() -> list[str]:
    """Return the minor versions of Python that a node may have and that locks exist for."""
    return list(load()["python"]["minors"])


@dataclass(frozen=True)
class Release:
    """What a supported release brings by itself.

    Attributes:
        name: distribution and version in small letters, such as ``debian12``.
        python: the minor version of its Python; None where a managed one would be needed.
        java: the package with the Java that Spark runs on.
    """

    name: str
    python: str | None
    java: str


def release(name: str) -> Release | None:
    """Return what release ``name`` (such as ``debian12`` or ``ubuntu24.04``) brings, or None."""
    entry = load()["releases"].get(name)
    if entry is None:
        return None
    return Release(name=name, python=entry["python"], java=entry["java"])
