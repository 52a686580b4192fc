"""Wait until the cluster has room for a job."""

from __future__ import annotations

import json
import time
from pathlib import Path

from mammoctl.jobs.remote import turn
from mammoctl.jobs.remote.records import (
    State,
    locked,
    queued,
    read_state,
    report,
    started,
    unit_active,
    write_state,
)

POLL = 1.0
UNANSWERED_S = 120.0
"""Seconds that the Spark master may be silent while a job waits for its turn."""

LEAVING = Path("/run/mammoctl-leaving")
"""Names the node that is to become idle; whoever waits for that writes it again and again."""

FRESH_S = 60.0
"""Seconds after which nobody waits for that any more."""


def leaving(now: float) -> str:
    """Return the node that is to become idle and get nothing new; empty when there is none."""
    try:
        return LEAVING.read_text().strip() if now - LEAVING.stat().st_mtime < FRESH_S else ""
    except OSError:
        return ""


def take_turn(folder: Path, jobs: Path) -> None:
    """Wait until the cluster has room for a job; then its record says that it runs.

    Raises:
        TimeoutError: the Spark master does not answer.
    """
    needs = json.loads((folder / "spec.json").read_text())["needs"]
    with locked(jobs):
        write_state(folder, queued(read_state(folder), time.time(), "it has just come"))
    said, answered = "", time.monotonic()
    while True:
        try:
            page = turn.ask(needs["page"])
            answered = time.monotonic()
        except (OSError, ValueError):
            page, silent = None, time.monotonic() - answered
            if silent > UNANSWERED_S:
                raise TimeoutError(f"no answer from {needs['page']} in {silent:.0f} s") from None
        with locked(jobs):
            mine, others = read_state(folder), _others(folder, jobs)
            reason: str | None = "the Spark master does not answer"
            if page is not None:
                reason = turn.why_not(
                    mine, needs, others, page, free_mb=turn.memory(), now=time.time()
                )
            if reason is None and (node := leaving(time.time())):
                reason = f"{node} is being taken out of the cluster, and must become idle first"
            if reason is None:
                write_state(folder, started(mine, time.time()))
                report(folder, {"event": "began"})
                return
            if reason != said:
                write_state(folder, queued(mine, time.time(), reason))
        if reason != said:
            said = reason
            report(folder, {"event": "queued", "text": reason})
        time.sleep(POLL)


def _others(folder: Path, jobs: Path) -> list[State]:
    """Return the records of the other jobs that are queued or running now."""
    found, boot = [], read_state(folder).get("boot_id")
    for path in jobs.glob("*/state.json"):
        try:
            state = read_state(path.parent)
        except (OSError, ValueError):
            continue
        if path.parent.name == folder.name or state.get("boot_id") != boot:
            continue
        if state.get("state") in ("queued", "running") and unit_active(path.parent.name):
            found.append(state)
    return found
