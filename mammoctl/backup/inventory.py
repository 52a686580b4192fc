"""The files that describe a cluster on this machine: which they are, and how they come back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mammoctl.errors import UsageError
from mammoctl.files import write as write_whole

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster

_FOLDERS = ("group_vars", "host_vars", "secrets")
_PRIVATE = 0o600


@dataclass
class Returned:
    """What became of the files: written, there already with the same text, there with another."""

    written: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    aside: Path | None = None


def files(cluster: Cluster, *, keys: bool, secrets: Iterable[str] | None = None) -> list[Path]:
    """Return the files of a cluster's description, those only that belong to it.

    An inventory may lie in a folder with other things, which are nobody's to copy.

    Args:
        cluster: which.
        keys: the login's private keys, where they lie in the inventory's folder.
        secrets: names of secrets; None for all.
    """
    folder = cluster.path
    found = {cluster.source, folder / "known_hosts", cluster.known_hosts}
    for name in _FOLDERS:
        found.update(path for path in (folder / name).rglob("*") if path.is_file())
    if secrets is not None:
        chosen = {folder / "secrets" / name for name in secrets}
        found = {path for path in found if path.parent != folder / "secrets" or path in chosen}
    own = {host.key_file for host in cluster.hosts.values() if host.key_file}
    public = {key.with_name(f"{key.name}.pub") for key in own}
    found = found | own | public if keys else found - own - public
    return sorted(p for p in found if p.is_file() and p.is_relative_to(folder))


def name_of(cluster: Cluster, path: Path) -> str:
    """Return a file's name relative to the inventory's folder."""
    return path.relative_to(cluster.path).as_posix()


def put_back(folder: Path, contents: Mapping[str, bytes], *, force: bool) -> Returned:
    """Write files below a folder that are not there.

    Args:
        folder: the inventory's; made when missing.
        contents: by name relative to it.
        force: replace those that have another text; the present ones go to a folder of their own.

    Raises:
        UsageError: a name leads out of the folder.
    """
    done = Returned()
    for name, content in contents.items():
        path = folder / _safe(name)
        if path.is_file() and path.read_bytes() == content:
            done.same.append(name)
            continue
        if path.exists():
            if not force:
                done.left.append(name)
                continue
            stamp = time.strftime("%Y%m%d-%H%M%S")
            done.aside = done.aside or folder / f"before-restore-{stamp}"
            _make(done.aside)
            _make((done.aside / name).parent)
            path.replace(done.aside / name)
        _make(path.parent)
        write_whole(path, content, mode=_PRIVATE, durable=True)
        done.written.append(name)
    return done


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UsageError(f"refusing to write {name}: it lies outside the inventory's folder")
    return name


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
