"""Files and folders between this machine and nodes, as ``cp`` would put them."""

from __future__ import annotations

import os
import shlex
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from mammoctl.errors import RemoteError, UsageError
from mammoctl.ssh.commands import Sudo

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Place:
    """A file or folder: on the nodes that ``nodes`` means, or here where it is None."""

    nodes: str | None
    path: str


def place(text: str) -> Place:
    """Return what ``[NODE:]PATH`` means; as for scp a colon behind a slash belongs to the path."""
    node, colon, path = text.partition(":")
    if not colon or "/" in node or not node:
        return Place(None, text)
    path = path.removeprefix("~/") if path != "~" else ""
    return Place(node, f"./{path}" if path.startswith("-") else path or ".")


def size(source: Path) -> int:
    """Return the bytes of a local file, or of all files of a folder.

    Raises:
        UsageError: there is no such file.
    """
    if source.is_dir():
        found = (Path(top) / name for top, _, names in os.walk(source) for name in names)
        return sum(path.lstat().st_size for path in found if path.is_file())
    if not source.is_file():
        raise UsageError(f"there is no file {source} here", hint="on a node: NODE:PATH")
    return source.stat().st_size


@dataclass(frozen=True)
class _Seen:
    kind: str
    size: int


def _look(nodes: Nodes, node: str, path: str, sudo: Sudo, *, sizes: bool) -> _Seen:
    """Return what is at a path of a node: ``folder``, ``file`` or ``none``."""
    at = shlex.quote(path)
    of_folder = f"$(du -sb -- {at} 2>/dev/null | cut -f1)" if sizes else "0"
    line = (
        f"if [ -d {at} ]; then echo folder {of_folder}; "
        f"elif [ -e {at} ]; then echo file $(stat -Lc %s -- {at}); else echo none; fi"
    )
    kind, _, number = nodes.run(node, line, sudo=sudo).stdout.strip().partition(" ")
    return _Seen(kind, int(number) if number.isdigit() else 0)


def upload(
    nodes: Nodes,
    node: str,
    sources: Sequence[Path],
    target: str,
    *,
    sudo: Sudo = False,
    progress: Progress | None = None,
) -> None:
    """Copy local files and folders to a node; into ``target`` where that is a folder.

    Args:
        nodes: the way to it.
        node: its name.
        sources: what to copy.
        target: path on the node; relative ones begin at the login's home.
        sudo: True for root, or the name of a user.
        progress: is called with the number of bytes of each piece sent.

    Raises:
        RemoteError: it cannot be written, or several sources meet a target that is no folder.
    """
    seen = _look(nodes, node, target, sudo, sizes=False)
    if seen.kind != "folder" and (len(sources) > 1 or target.endswith("/")):
        raise RemoteError(
            f"{node}: {target} is not a folder",
            hint=f"make it first: mammoctl exec {node} -- mkdir -p {shlex.quote(target)}",
        )
    for source in sources:
        name = source.resolve().name
        to = str(PurePosixPath(target) / name) if seen.kind == "folder" else target
        if source.is_dir():
            at = shlex.quote(to)
            line = f"mkdir -p -- {at} && exec tar -C {at} --no-same-owner -xf -"
            with _packed(source) as stream:
                nodes.stream(node, line, _counted(stream, progress), sudo=sudo)
        else:
            mode = source.stat().st_mode & 0o777
            nodes.put(node, source, to, sudo=sudo, mode=mode, progress=progress)


def download(
    nodes: Nodes,
    node: str,
    source: str,
    target: Path,
    *,
    sudo: Sudo = False,
    total: Progress | None = None,
    progress: Progress | None = None,
) -> Path:
    """Copy a file or folder of a node here; into ``target`` where that is a folder.

    Args:
        nodes: the way to it.
        node: its name.
        source: path on the node; relative ones begin at the login's home.
        target: path here.
        sudo: True for root, or the name of a user.
        total: is told the number of bytes that will come.
        progress: is called with the number of bytes of each piece.

    Returns:
        Where it is now.

    Raises:
        RemoteError: it is not there or cannot be read.
    """
    seen = _look(nodes, node, source, sudo, sizes=True)
    if seen.kind == "none":
        hint = "" if sudo else "a path that only root sees needs --sudo"
        raise RemoteError(f"{node}: there is no {source}", hint=hint)
    if total:
        total(seen.size)
    name = PurePosixPath(source).name or node
    to = target / name if target.is_dir() else target
    if seen.kind == "folder":
        nodes.get_tree(node, source, to, sudo=sudo, progress=progress)
    else:
        nodes.get(node, source, to, sudo=sudo, progress=progress)
    return to


def _counted(stream: BinaryIO, progress: Progress | None) -> Iterator[bytes]:
    while data := stream.read(1 << 18):
        if progress:
            progress(len(data))
        yield data


@contextmanager
def _packed(folder: Path) -> Iterator[BinaryIO]:
    """Yield a tar stream of what a folder holds, packed while it is read."""
    reading, writing = os.pipe()
    failure: list[BaseException] = []

    def pack() -> None:
        try:
            with os.fdopen(writing, "wb") as sink, tarfile.open(fileobj=sink, mode="w|") as tar:
                for path in sorted(folder.iterdir()):
                    tar.add(path, arcname=path.name)
        except BrokenPipeError:
            pass  # the node stopped reading; its own reason is raised
        except BaseException as exc:
            failure.append(exc)

    thread = threading.Thread(target=pack, daemon=True)
    thread.start()
    try:
        with os.fdopen(reading, "rb") as stream:
            yield stream
    finally:
        thread.join()
    if failure:
        raise failure[0]
