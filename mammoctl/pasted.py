"""Commands in hints and mends, to be pasted: each names the cluster as the user has named it."""

from __future__ import annotations

import re
import shlex

# Those that take -i; `bundle create` and `access accept` mean something else by it.
COMMANDS = (
    *("check", "plan", "provision", "verify", "upgrade", "teardown", "status", "start", "stop"),
    *("restart", "logs", "exec", "ssh", "cp", "ui", "submit", "results", "predict", "explore"),
    *("notebook", "backup", "restore", "support-bundle", "unlock", "names", "secrets rotate"),
    *(f"node {verb}" for verb in ("add", "remove")),
    *(f"data {verb}" for verb in ("push", "list", "verify", "remove")),
    *(
        f"jobs {verb}"
        for verb in ("list", "show", "attach", "await", "resume", "logs", "kill", "results")
    ),
    *("jobs prune", "access grant", "access list", "access revoke", "bundle lock"),
)

# A command ends where the sentence goes on; one that names a cluster already is left alone.
_COMMAND = re.compile(
    rf"(?<![\w/.-])mammoctl (?:{'|'.join(COMMANDS)})(?![\w-])"
    r"(?![^;,`)\n]*\s(?:-i|--inventory)\s)"
)
_named: list[str] = []


def remember(inventory: str | None) -> str | None:
    """Note how the user has named the cluster of this command, if at all; return it."""
    _named[:] = [inventory] if inventory else []
    return inventory


def option() -> str:
    """Return the option that names the cluster again; empty where the user needed none."""
    return f"-i {shlex.quote(_named[0])}" if _named else ""


def complete(text: str) -> str:
    """Return a text whose commands of mammoctl can be pasted as they are."""
    if not _named:
        return text
    return _COMMAND.sub(lambda found: f"{found[0]} {option()}", text)
