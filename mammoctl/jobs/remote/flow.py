"""A job as it happens: its events and the lines of its log, to its end; and what it left."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mammoctl.jobs.remote.records import ENDED, current, read_state

POLL = 0.25
BEAT = 5.0
_MOST = 1 << 18


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as stream:
            # Who wants none of a file names an offset that no file system can seek to.
            if offset >= os.fstat(stream.fileno()).st_size:
                return b""
            stream.seek(offset)
            return stream.read(_MOST)
    except FileNotFoundError:
        return b""


def tail_offset(path: Path, lines: int) -> int:
    """Return where the last lines of a file begin."""
    try:
        with path.open("rb") as stream:
            end = position = stream.seek(0, os.SEEK_END)
            found = 0
            while position > 0:
                size = min(1 << 16, position)
                position -= size
                stream.seek(position)
                block = stream.read(size)
                last = len(block)
                while (last := block.rfind(b"\n", 0, last)) >= 0:
                    if position + last + 1 < end:
                        found += 1
                    if found == lines:
                        return position + last + 1
    except FileNotFoundError:
        pass
    return 0


def events(folder: Path, offset: int, log: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield what happens to a job until its end.

    Args:
        folder: the job's.
        offset: byte of its progress file from which on.
        log: the same of its log, whose lines come too; None leaves them out, and a negative number
            means the last so many lines.
    """
    path, log_path = folder / "progress.jsonl", folder / "job.log"
    if log is not None and log < 0:
        log = tail_offset(log_path, -log)
    beat = asked = time.monotonic()
    state = current(folder)
    while True:
        ended = state["state"] in ENDED
        data = _read(path, offset)
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            try:
                yield {"offset": offset, "event": json.loads(line)}
            except ValueError:
                continue
        more = len(data) == _MOST
        if log is not None:
            data = _read(log_path, log)
            more = more or len(data) == _MOST
            whole = data if ended or len(data) == _MOST else data[: data.rfind(b"\n") + 1]
            if whole:
                log += len(whole)
                yield {"log": whole.decode(errors="replace"), "log_offset": log}
        if more:
            continue
        if ended:
            yield {"end": state}
            return
        now = time.monotonic()
        if now - beat >= BEAT:
            beat = now
            yield {"beat": True}
        time.sleep(POLL)
        if now - asked >= BEAT:
            asked = now
            state = current(folder)
        else:  # cheap: the record alone tells of an ordinary end
            state = read_state(folder)


def checksums(folder: Path) -> list[dict[str, Any]]:
    """List a job's results and its log with sizes and sha256."""
    found = []
    results = folder / "results"
    paths = [path for path in sorted(results.rglob("*")) if not _hidden(path.relative_to(results))]
    for path in [*paths, folder / "job.log"]:
        if path.is_file() and not path.is_symlink():
            digest = hashlib.sha256()
            with path.open("rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
            relative = path.relative_to(folder).as_posix()
            size = path.stat().st_size
            found.append({"path": relative, "size": size, "sha256": digest.hexdigest()})
    return found


def _hidden(path: Path) -> bool:
    return any(name.startswith((".", "_")) for name in path.parts)
