"""Which nodes of a cluster a user means."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Sequence

from mammoctl.errors import UsageError
from mammoctl.inventory import Cluster


def choose(cluster: Cluster, words: Sequence[str]) -> list[str]:
    """Return the names of the nodes that are meant, in the inventory's order, each once.

    Args:
        cluster: whose nodes.
        words: names, patterns with ``*`` and ``?``, or groups of the inventory; none for all.

    Raises:
        UsageError: a word means no node.
    """
    if not words:
        return list(cluster.hosts)
    chosen = {name for word in words for name in _meant(cluster, word)}
    return [name for name in cluster.hosts if name in chosen]


def limited(cluster: Cluster, words: Sequence[str]) -> list[str]:
    """Return the nodes that ``--limit`` means; none where there is no limit.

    As for Ansible: parts between commas or colons are joined, ``!PART`` is taken out of them, and
    of ``&PART`` only what is in both stays; without any other part they begin with all nodes.

    Raises:
        UsageError: a word means no node, or nothing is left.
    """
    # A colon in brackets is a pattern's own.
    parts = [part for word in words for part in re.split(r"[,:](?![^\[]*\])", word) if part]
    if not parts:
        return []
    chosen = set(choose(cluster, [part for part in parts if part[0] not in "!&"]))
    for part in sorted(parts, key=lambda one: one[0] == "!"):
        if part[0] in "!&":
            meant = set(choose(cluster, [part[1:]]))
            chosen = chosen - meant if part[0] == "!" else chosen & meant
    if not chosen:
        raise UsageError(f"--limit {','.join(words)} leaves no node", hint="name one that stays")
    return [name for name in cluster.hosts if name in chosen]


def one(cluster: Cluster, word: str) -> str:
    """Return the name of the one node that is meant.

    Raises:
        UsageError: the word means none, or several.
    """
    found = _meant(cluster, word)
    if len(found) > 1:
        raise UsageError(f"{word} means {len(found)} nodes: {', '.join(found)}", hint="name one")
    return found[0]


def _meant(cluster: Cluster, word: str) -> list[str]:
    if word in cluster.hosts:
        return [word]
    found = [name for name, host in cluster.hosts.items() if word in host.groups]
    found = found or [name for name in cluster.hosts if fnmatch.fnmatchcase(name, word)]
    if found:
        return found
    near = difflib.get_close_matches(word, cluster.hosts, n=1)
    raise UsageError(
        f"{cluster.name} has no node {word}",
        hint=f"did you mean {near[0]}?" if near else f"it has {', '.join(cluster.hosts)}",
    )
