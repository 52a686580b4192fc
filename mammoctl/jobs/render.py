"""Show a job's progress: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mammoctl import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STAGES = {
    "read": "reading the data set",
    "features": "features on the workers",
    "train": "training",
    "clusters": "clusters of the features",
    "predict": "judging on the workers",
    "watch": "judging what arrives",
    "evaluate": "evaluating",
    "report": "writing the results",
}
PLAIN_EVERY = 10.0
"""Seconds between two plain lines about one stage."""


class View:
    """Takes a job's events one by one.

    Args:
        bars: where to draw; None writes plain lines.
        clock: seconds, for the pace of plain lines.
    """

    def __init__(self, bars: Progress | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._bars = bars
        self._clock = clock
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._waited = False
        self.explained = False

    def event(self, event: dict[str, Any]) -> None:
        """Show one event; unknown ones are left out."""
        kind, stage = event.get("event"), str(event.get("stage", ""))
        if kind == "message":
            self._message(event)
        elif kind == "stage_started":
            self._started(stage, event)
        elif kind == "stage_progress":
            self._advanced(stage, event)
        elif kind == "stage_finished":
            self._finished(stage, event)
        elif kind == "epoch":
            self._epoch(event)
        elif kind == "log":
            console.note(str(event.get("text", "")).rstrip("\n"))
        elif kind == "queued":
            self._waited = True
            console.step(f"waiting for its turn: {event.get('text')}")
        elif kind == "began" and self._waited:
            self._waited = False
            console.step("its turn has come")

    def _message(self, event: dict[str, Any]) -> None:
        text, level = str(event.get("text", "")), event.get("level")
        if level == "warning":
            console.warn(text)
        elif level == "error":
            self.explained = True
            console.note(f"the job says: {text}")
        elif not text.startswith("epoch "):  # those come as events of their own
            console.note(f"    {text}")

    def _started(self, stage: str, event: dict[str, Any]) -> None:
        name, total = STAGES.get(stage, stage), event.get("total")
        if self._bars is None:
            console.step(name)
            self._said[stage] = self._clock()
        else:
            self._tasks[stage] = self._bars.add_task(name, total=total)

    def _advanced(self, stage: str, event: dict[str, Any]) -> None:
        done, total = event.get("done", 0), event.get("total")
        if self._bars is not None:
            if stage in self._tasks:
                self._bars.update(self._tasks[stage], completed=done, total=total)
            return
        now = self._clock()
        if done == total or now - self._said.get(stage, now) >= PLAIN_EVERY:
            self._said[stage] = now
            console.note(f"    {STAGES.get(stage, stage)}: {done} of {total}")

    def _finished(self, stage: str, event: dict[str, Any]) -> None:
        name, seconds = STAGES.get(stage, stage), float(event.get("seconds") or 0)
        outcome = "done" if event.get("ok", True) else "failed"
        if self._bars is not None and stage in self._tasks:
            self._bars.remove_task(self._tasks.pop(stage))
            console.step(f"{name}: {outcome} in {seconds:.1f} s")
        else:
            console.note(f"    {outcome} in {seconds:.1f} s")

    def _epoch(self, event: dict[str, Any]) -> None:
        done, total = event.get("done", 0), event.get("total")
        known = {"v", "t", "event", "stage", "done", "total"}
        numbers = "  ".join(
            f"{key.replace('_', ' ')} {value:.3f}"
            for key, value in event.items()
            if key not in known and isinstance(value, int | float)
        )
        console.note(f"    epoch {done} of {total}  {numbers}")
        if self._bars is not None and "train" in self._tasks:
            self._bars.update(self._tasks["train"], completed=done, total=total)
