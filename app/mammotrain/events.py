"""Progress as JSON lines for machines and as log lines for people.

One event a line: `{"v":1,"t":<unix seconds>,"event":...,"stage":...,...}`. Nothing written here
names a file, a person or anything but image ids and counts.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

log = logging.getLogger("mammotrain")

STAGES = ("read", "features", "train", "evaluate", "report")


def clean(value: Any) -> Any:
    """Return `value` with every NaN and infinity replaced by None: JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


class Progress:
    """Writes events and measures stages.

    Args:
        path: file to append events to; None writes none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")

    def emit(self, event: str, stage: str | None = None, **fields: Any) -> None:
        """Append one event."""
        if self._file is None:
            return
        record = {"v": 1, "t": round(time.time(), 3), "event": event}
        if stage is not None:
            record["stage"] = stage
        record.update(clean(fields))
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[None]:
        """Announce a stage, time it in seconds, and announce its end (also when it fails)."""
        fields = {} if total is None else {"done": 0, "total": total}
        self.emit("stage_started", name, **fields)
        log.info("%s: started", name)
        start = time.monotonic()
        ok = False
        try:
            yield
            ok = True
        finally:
            taken = time.monotonic() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + taken
            self.emit("stage_finished", name, ok=ok, seconds=round(taken, 3))
            log.info("%s: %s after %.1f s", name, "done" if ok else "failed", taken)

    def advance(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` things of a stage are finished."""
        self.emit("stage_progress", stage, done=done, total=total)
        log.info("%s: %d of %d", stage, done, total)

    def warn(self, text: str) -> None:
        """Report something that the reader of the results has to know."""
        self.warnings.append(text)
        self.message("warning", text)

    def message(self, level: str, text: str, **fields: Any) -> None:
        """Report one line of text: level `info`, `warning` or `error`."""
        log.log(getattr(logging, level.upper()), "%s", text)
        self.emit("message", level=level, text=text, **fields)

    def log(self, text: str) -> None:
        """Write one line for people only."""
        log.info("%s", text)

    def close(self) -> None:
        """Close the event file."""
        if self._file is not None:
            self._file.close()
            self._file = None
