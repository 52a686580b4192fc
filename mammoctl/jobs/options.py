"""Options for the application itself: what follows ``--`` on the command line of `submit`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mammoctl.errors import UsageError

# What `submit` sets by its own options, or from what it knows of the cluster.
OWN = frozenset(
    {
        "backbone", "batch-size", "data", "epochs", "features", "output", "ports", "progress",
        "publish", "seed", "weights", "weights-sha256",
    }
)  # fmt: skip
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)(?:=(.*))?", re.DOTALL)


def parse(words: Sequence[str]) -> dict[str, str]:
    """Return the application's options by their names without dashes.

    Args:
        words: ``--name value`` or ``--name=value``; every option of the application has a value.

    Raises:
        UsageError: a word is no option, has no value, comes twice, or is for `submit` to set.
    """
    found: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        match = _OPTION.fullmatch(word)
        if not match:
            raise UsageError(
                f"{word!r} after -- is no option of the application",
                hint="write --name value; docs/training.md lists the options",
            )
        name, value = match[1], match[2]
        if name in OWN:
            raise UsageError(
                f"--{name} is not for the application alone",
                hint=f"give --{name} before the --"
                if name in {"backbone", "batch-size", "data", "epochs", "seed", "weights"}
                else "`mammoctl submit` sets it from what it knows of the cluster",
            )
        if value is None:
            if not rest or _OPTION.fullmatch(rest[0]):
                raise UsageError(f"--{name} has no value", hint=f"write --{name} VALUE")
            value = rest.pop(0)
        if name in found:
            raise UsageError(f"--{name} is given twice", hint="leave one of them out")
        found[name] = value
    return found
