"""Variables of the roles as the command line needs them: the inventory's, else the role's default.

The defaults stand once, in ``roles/<role>/defaults/main.yml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from mammoctl import paths
from mammoctl.errors import InventoryError


@cache
def defaults(role: str) -> dict[str, Any]:
    """Return the defaults of a role, as they are written: computed ones are templates."""
    import yaml

    path = paths.project_root() / "roles" / role / "defaults" / "main.yml"
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def value(variables: Mapping[str, Any], name: str) -> Any:
    """Return a role's variable; the part of its name before the first ``_`` is the role.

    Args:
        variables: of a host, or of the cluster; what is not among them is the role's default.
        name: a variable whose default is no template.
    """
    found = variables.get(name)
    return defaults(name.partition("_")[0])[name] if found in (None, "") else found


def is_on(found: object) -> bool:
    """Tell whether a value switches something on, as Ansible's ``bool`` does: INI has only text."""
    return str(found).strip().lower() in ("true", "yes", "on", "1")


def flag(variables: Mapping[str, Any], name: str) -> bool:
    """Return a role's variable that is a switch; see `value`."""
    return is_on(value(variables, name))


def number(variables: Mapping[str, Any], name: str) -> int:
    """Return a role's variable that is a whole number; see `value`.

    Raises:
        InventoryError: the inventory has something else.
    """
    found = value(variables, name)
    if not isinstance(found, int) and not re.fullmatch(r"-?\d+", str(found).strip()):
        raise InventoryError(
            f"{name} is {found!r}, not a whole number",
            hint="correct it in the inventory (docs/roles.md has the unit), or leave it out",
        )
    return int(found)
