"""The roles of a provision, and what ``--tags`` can name: they and their steps."""

from __future__ import annotations

import difflib
from functools import cache

from mammoctl import paths
from mammoctl.errors import UsageError

GENERAL = ("all", "tagged", "untagged", "always")
"""What Ansible itself understands beside them."""


@cache
def names() -> tuple[str, ...]:
    """Return the roles of a provision, in their order."""
    import yaml

    plays = yaml.safe_load(paths.playbook("provision").read_text(encoding="utf-8"))
    return tuple(role["role"] for play in plays for role in play.get("roles") or [])


@cache
def tags() -> tuple[str, ...]:
    """Return the names of roles and steps, each role before its steps."""
    import yaml

    found: dict[str, None] = {}
    for role in names():
        file = paths.project_root() / "roles" / role / "tasks" / "main.yml"
        steps = yaml.safe_load(file.read_text(encoding="utf-8"))
        found |= dict.fromkeys([role, *(tag for step in steps for tag in step.get("tags", []))])
    return tuple(found)


def check_tags(words: str | None) -> str | None:
    """Return ``--tags`` as given, once each of its words is known.

    Ansible takes a word that it does not know for one without work, and says that all went well.

    Raises:
        UsageError: a word names no part.
    """
    for word in (words or "").split(","):
        if word.strip() and word.strip() not in (*tags(), *GENERAL):
            near = difflib.get_close_matches(word.strip(), tags(), n=1)
            raise UsageError(
                f"--tags: no part is called {word.strip()}",
                hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(names())}",
            )
    return words
