"""A pytest plugin: one JSON line per check to an inherited file descriptor.

Loaded into the pytest process that `mammoctl verify` starts (``-p mammoctl.verify.plugin``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import Any

import pytest

VERSION = 1
FD_VARIABLE = "MAMMOCTL_VERIFY_FD"


class Reporter:
    """Writes ``collected``, ``start`` and ``check`` events."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_inheritable(fd, False)

    def _emit(self, event: str, **fields: object) -> None:
        line = json.dumps({"v": VERSION, "event": event, **fields}, default=str) + "\n"
        os.write(self._fd, line.encode())

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell how many checks there will be."""
        self._emit("collected", checks=len(session.items))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Tell which check begins."""
        self._emit("start", check=nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report a check when it has run, or when it could not be set up."""
        report = yield
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self._emit("check", **describe(item, call, report))
        return report


def describe(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> dict[str, object]:
    """Return the fields of a ``check`` event: what was checked, where, and what was seen."""
    callspec = getattr(item, "callspec", None)
    params = dict(callspec.params) if callspec else {}
    host = params.pop("node", None) or params.pop("worker", None)
    doc = (getattr(getattr(item, "function", None), "__doc__", None) or item.name).strip()
    fields: dict[str, object] = {
        "role": item.path.stem.removeprefix("test_"),
        "check": item.name.partition("[")[0].removeprefix("test_"),
        "host": host or "",
        "subject": " ".join(str(value) for value in params.values()),
        "what": doc.partition("\n")[0],
        "outcome": report.outcome,
        "seconds": round(report.duration, 2),
    }
    if call.excinfo is not None and not report.passed:
        fields |= _reason(call.excinfo.value, report)
    return fields


def _reason(error: BaseException, report: pytest.TestReport) -> dict[str, object]:
    seen: Any = getattr(error, "seen", None)
    if seen is not None:
        return {"outcome": "failed", "seen": str(seen), "mend": str(getattr(error, "mend", ""))}
    if report.skipped:
        return {"seen": str(error)}
    text = str(error).strip() or type(error).__name__
    if isinstance(error, AssertionError):
        return {"outcome": "failed", "seen": text.partition("\n")[0]}
    return {"outcome": "error", "seen": f"{type(error).__name__}: {text[-500:]}"}


def pytest_configure(config: pytest.Config) -> None:
    """Register the reporter when somebody listens."""
    number = os.environ.get(FD_VARIABLE, "")
    if number.isdigit():
        config.pluginmanager.register(Reporter(int(number)), "mammoctl-reporter")
