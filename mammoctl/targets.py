"""Which nodes of a cluster a user means."""

from __future__ import annotations

import difflib
import fnmatch
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
