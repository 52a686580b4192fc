"""What ``-e`` says about a variable, for what must be known before Ansible runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mammoctl.errors import UsageError


def read(items: Sequence[str]) -> dict[str, Any]:
    """Return the variables of all ``-e`` options, as Ansible reads them; later ones win.

    Args:
        items: each ``KEY=VALUE ...``, JSON or YAML of a map, or ``@FILE`` with one.

    Raises:
        UsageError: a file cannot be read, or something is no map.
    """
    found: dict[str, Any] = {}
    for item in items:
        text = item.strip()
        if text.startswith("@"):
            found |= _map(_file(text[1:]), text)
        elif text.startswith(("{", "[")):
            found |= _map(text, "-e")
        else:
            found |= _pairs(text)
    return found


def _pairs(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError as exc:
        raise UsageError(f"-e {text!r} cannot be read: {exc}", hint="-e KEY=VALUE") from exc
    return {key: value for key, _, value in (word.partition("=") for word in words if "=" in word)}


def _file(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"-e @{name}: cannot read it: {exc}", hint="give a YAML file") from exc


def _map(text: str, where: str) -> dict[str, Any]:
    import yaml

    if text.startswith("$ANSIBLE_VAULT"):
        return {}  # Ansible asks for its password; nothing of ours belongs there

    class Tolerant(yaml.SafeLoader):
        """Takes tags that belong to Ansible, such as !vault, for nothing."""

    Tolerant.add_multi_constructor("!", lambda _loader, _suffix, _node: None)
    try:
        data = yaml.load(text, Loader=Tolerant)  # noqa: S506  a safe one
    except yaml.YAMLError as exc:
        raise UsageError(f"{where}: not YAML: {exc}", hint="give a map of variables") from exc
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{where}: not a map of variables", hint="-e KEY=VALUE, or -e @FILE")
    return data
