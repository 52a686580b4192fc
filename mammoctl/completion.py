"""What the shell offers on Tab: names of inventories, hosts, jobs, data sets and operators.

A cluster is asked for its names at most once a minute, and never for longer than a few seconds;
what it said last is kept beside the other things that can be made again. Whatever fails, the shell
gets no names and no message.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import typer

from mammoctl import files, paths, roles

Kind = Literal["hosts", "jobs", "data", "operators"]

FRESH_S = 60.0
GROUPS = ("all", "spark_master", "spark_workers")
PATIENCE_S = 5.0


def inventories(incomplete: str) -> list[str]:
    """Offer the inventories below ``./inventory``."""
    folder = Path("inventory")
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(name for name in names if name.startswith(incomplete))


def hosts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the hosts of the cluster that the command line names."""
    return _matching("hosts", ctx, incomplete)


def targets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer hosts and the groups that every cluster has, where several hosts may be meant."""
    groups = [name for name in GROUPS if name.startswith(incomplete)]
    return [*hosts(ctx, incomplete), *groups]


def places(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer ``HOST:`` for the begin of a path on a host; the shell itself offers files."""
    return [] if ":" in incomplete else [f"{name}:" for name in targets(ctx, incomplete)]


def jobs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the ids of its jobs, the newest first, and `latest`."""
    return [
        *_matching("jobs", ctx, incomplete),
        *(["latest"] if "latest".startswith(incomplete) else []),
    ]


def data(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the names of its data sets."""
    return _matching("data", ctx, incomplete)


def operators(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the names of those who were let in."""
    return _matching("operators", ctx, incomplete)


def tags(incomplete: str) -> list[str]:
    """Offer the parts of a provision, behind what is named already."""
    with suppress(Exception):
        before, comma, word = incomplete.rpartition(",")
        return [f"{before}{comma}{tag}" for tag in roles.tags() if tag.startswith(word)]
    return []


def _matching(kind: Kind, ctx: typer.Context, incomplete: str) -> list[str]:
    with suppress(Exception):  # Tab is no place for an error
        found = names(kind, ctx.params.get("inventory"))
        return [name for name in found if name.startswith(incomplete)]
    return []


def names(kind: Kind, selector: str | None) -> list[str]:
    """Return the names of a kind: what is kept while it is fresh, else what the cluster says.

    Raises:
        InventoryError: there is no such inventory.
    """
    from mammoctl.inventory import find

    source = find(selector)
    path = _path(source, kind)
    kept, age = _kept(path)
    # names of hosts change with the file alone
    stale = age > FRESH_S if kind != "hosts" else age > time.time() - source.stat().st_mtime
    if kept is not None and not stale:
        return kept
    argv = [sys.executable, "-m", "mammoctl", "names", kind, "-i", str(source)]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return kept or []
    found = done.stdout.split()
    keep(source, kind, found)
    return found


def keep(source: Path, kind: Kind, found: list[str]) -> None:
    """Keep names for the next time; a cache that cannot be written is none."""
    path = _path(source, kind)
    with suppress(OSError):
        files.write(path, json.dumps(found))


def _path(source: Path, kind: Kind) -> Path:
    digest = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    return paths.cache_dir() / "names" / f"{digest}-{kind}.json"


def _kept(path: Path) -> tuple[list[str] | None, float]:
    """Return what is kept and its age in seconds."""
    try:
        age = time.time() - path.stat().st_mtime
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, 0.0
    return ([str(name) for name in value], age) if isinstance(value, list) else (None, 0.0)
