"""Where mammoctl's own files lie (a checkout or an installed wheel) and where it writes."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent


def in_checkout() -> bool:
    """Tell whether mammoctl runs from a checkout rather than from an installed wheel."""
    return (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "playbooks").is_dir()


def project_root() -> Path:
    """Return the folder that holds ``playbooks roles app tests/infra locks``.

    It is the checkout, or ``mammoctl/_project`` inside an installed wheel.
    """
    return _CHECKOUT if in_checkout() else _PACKAGE / "_project"


def playbook(name: str) -> Path:
    """Return the path of the playbook ``name`` (a verb, without its suffix)."""
    return project_root() / "playbooks" / f"{name}.yml"


def cache_dir() -> Path:
    """Return the folder of what can be made again: artifacts and base images.

    ``MAMMOCTL_CACHE_DIR``, else ``$XDG_CACHE_HOME/mammoctl``, else ``~/.cache/mammoctl``.
    """
    if explicit := os.environ.get("MAMMOCTL_CACHE_DIR"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mammoctl"


def log_dir() -> Path:
    """Return the folder of the logs of earlier runs (mode 0700 when created).

    ``MAMMOCTL_LOG_DIR``, else ``$XDG_STATE_HOME/mammoctl/log``, else
    ``~/.local/state/mammoctl/log``.
    """
    if explicit := os.environ.get("MAMMOCTL_LOG_DIR"):
        path = Path(explicit)
    else:
        base = os.environ.get("XDG_STATE_HOME")
        root = Path(base) if base else Path.home() / ".local" / "state"
        path = root / "mammoctl" / "log"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
