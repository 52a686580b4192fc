"""Bulk data through OpenSSH's client."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mammoctl.errors import RemoteError

SMALL = 1 << 20
"""Bytes up to which paramiko is fast enough."""

SSH_FAILED = 255
"""Exit status of OpenSSH's client when it, and not the command, failed."""

_CHUNK = 1 << 18

Source = Path | bytes | BinaryIO | Iterable[bytes]


def write_command(target: str, size: int, mode: int, owner: str | None) -> str:
    """Return a line of sh that writes ``size`` bytes of input to a file, whole or not at all.

    The size matters: a connection that breaks looks like the end of the input.
    """
    path, part = shlex.quote(target), shlex.quote(target + ".part")
    steps = [
        f"umask 077; cat > {part}",
        f'[ "$(stat -c %s {part})" = {size} ]',
        f"chmod {mode:04o} {part}",
    ]
    if owner:
        steps.append(f"chown {shlex.quote(owner)} {part}")
    steps.append(f"mv -fT {part} {path}")
    return " && ".join(steps) + f" || {{ rm -f {part}; exit 1; }}"


def pieces(source: Source) -> Iterator[bytes]:
    """Yield the bytes of a file, a buffer, an open file or an iterable of pieces."""
    if isinstance(source, bytes):
        yield from (source[i : i + _CHUNK] for i in range(0, len(source), _CHUNK))
    elif isinstance(source, Path):
        with source.open("rb") as stream:
            while data := stream.read(_CHUNK):
                yield data
    elif hasattr(source, "read"):
        while data := source.read(_CHUNK):
            yield data
    else:
        yield from source


def feed(
    argv: list[str], source: Source, progress: Callable[[int], None] | None, first: bytes = b""
) -> tuple[str, str, int]:
    """Run ``argv`` with ``first`` and ``source`` as its input; return stdout, stderr and status.

    When reading ``source`` fails, the command sees an early end: let it check what it got.
    """
    collected: dict[str, bytes] = {}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        readers = [
            threading.Thread(target=_collect, args=(collected, name, stream), daemon=True)
            for name, stream in (("out", process.stdout), ("err", process.stderr))
        ]
        for reader in readers:
            reader.start()
        assert process.stdin is not None  # noqa: S101  asked for above
        try:
            process.stdin.write(first)
            for piece in pieces(source):
                process.stdin.write(piece)
                if progress:
                    progress(len(piece))
            process.stdin.close()
        except BrokenPipeError:
            pass  # the command ended early; its status and stderr say why
        except BaseException:
            process.terminate()
            with suppress(BrokenPipeError):
                process.stdin.close()  # or leaving Popen's context fails on its buffer again
            raise
        for reader in readers:
            reader.join()
    text = {name: data.decode(errors="replace") for name, data in collected.items()}
    return text.get("out", ""), text.get("err", ""), process.returncode


def drain(
    argv: list[str], sink: Any, progress: Callable[[int], None] | None, first: bytes = b""
) -> tuple[str, int]:
    """Run ``argv`` on ``first`` and write its output to ``sink``; return stderr and status."""
    collected: dict[str, bytes] = {}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        reader = threading.Thread(
            target=_collect, args=(collected, "err", process.stderr), daemon=True
        )
        reader.start()
        assert process.stdout is not None  # noqa: S101
        assert process.stdin is not None  # noqa: S101
        with suppress(BrokenPipeError):  # the command ended early; its status and stderr say why
            process.stdin.write(first)
            process.stdin.close()
        try:
            while data := os.read(process.stdout.fileno(), _CHUNK):
                sink.write(data)
                if progress:
                    progress(len(data))
        except BaseException:
            process.terminate()
            raise
        reader.join()
    return collected.get("err", b"").decode(errors="replace"), process.returncode


def _collect(into: dict[str, bytes], name: str, stream: Any) -> None:
    into[name] = stream.read()


def _extract(tar: tarfile.TarFile, target: Path) -> None:
    """Unpack files and folders only; tarfile's own filters came after Debian 12's Python."""
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise RemoteError(f"refusing to unpack {member.name}: it lies outside its folder")
        if member.isdir():
            (target / path).mkdir(parents=True, exist_ok=True)
        elif member.isreg() and (stream := tar.extractfile(member)):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            with (target / path).open("wb") as sink:
                shutil.copyfileobj(stream, sink, _CHUNK)


@contextmanager
def unpacking(target: Path) -> Iterator[Any]:
    """Yield a sink for a tar stream; its members are unpacked below ``target`` as they come."""
    target.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    failure: list[BaseException] = []

    def unpack() -> None:
        try:
            with os.fdopen(reading, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                _extract(tar, target)
                while stream.read(_CHUNK):
                    pass  # the padding after the end of the archive
        except BaseException as exc:
            failure.append(exc)

    thread = threading.Thread(target=unpack, daemon=True)
    thread.start()
    try:
        with os.fdopen(writing, "wb") as sink:
            yield sink
    except BrokenPipeError:
        pass  # the unpacking failed; its own reason is raised below
    finally:
        thread.join()
    if failure:
        raise failure[0]
