"""The list of contents of a support bundle, for whoever sends it and whoever gets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mammoctl import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mammoctl.support.archive import Entry
    from mammoctl.support.bundle import Collected

_HEAD = """\
# Support bundle of {cluster}

Made by `mammoctl support-bundle` {version} at {stamp} UTC. Everything is text: look through it
before you send it.

Taken out: values of secrets, passwords, tokens, private keys, passwords in addresses, encrypted
parts. Where one stood there is now `[removed]`. {names}

Never taken: images, data sets, results, what jobs were given and said, maps of ids to files, keys,
known hosts.
"""
_NAMED = "Names of hosts and people and addresses are as they are; `--anonymous` replaces them."
_ANONYMOUS = """\
Names of hosts and people and
addresses were replaced: the same name is the same word throughout, and nodes are numbered as the
inventory lists them."""


def page(done: Collected, entries: Sequence[Entry], stamp: str, clean: Callable[[str], str]) -> str:
    """Return the page.

    Args:
        done: what was collected, and what was not.
        entries: the files, in the order in which they are listed.
        stamp: the time, YYYYMMDD-HHMMSS in UTC.
        clean: takes secrets (and names) out of what has not been through it yet.
    """
    names = _ANONYMOUS if done.anonymous else _NAMED
    lines = [
        _HEAD.format(cluster=clean(done.cluster), version=__version__, stamp=stamp, names=names),
        "## What could not be collected",
        "",
        *([clean(line) for line in _missing(done)] or ["Nothing: every node answered in full."]),
        "",
        "## What was taken out",
        "",
        *([f"- {kind}: {count}" for kind, count in done.removed.items()] or ["Nothing was found."]),
        "",
        "## Files",
        "",
        "| file | bytes | what |",
        "| --- | --- | --- |",
        *(f"| {entry.path} | {entry.size} | {entry.what} |" for entry in entries),
    ]
    return "\n".join(lines) + "\n"


def _missing(done: Collected) -> list[str]:
    found = [(name, error) for name, error in done.nodes.items() if error]
    lines = []
    for name, error in [*found, *done.missing]:
        lines.append(f"- {name}: {error.message}")
        lines += [f"    {line}" for line in error.details]
    return lines
