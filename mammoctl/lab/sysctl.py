"""IPv4 forwarding: switched on while a lab needs it, and back to what it was by the last one."""

from __future__ import annotations

import json
from pathlib import Path

from mammoctl import files
from mammoctl.lab.state import boot_id, labs_dir, lock

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def _record() -> Path:
    return labs_dir() / "ip_forward.json"


def _load() -> tuple[str, list[str]]:
    """Return the value before the first lab, and the labs that need forwarding."""
    try:
        raw = json.loads(_record().read_text())
    except FileNotFoundError:
        raw = {}
    if raw.get("boot") != boot_id():  # a restart of the machine has undone the change
        return FORWARD.read_text().strip(), []
    return raw["before"], raw["labs"]


def acquire(lab: str) -> None:
    """Switch forwarding on for ``lab`` and remember what it was."""
    with lock("sysctl", wait=True):
        before, labs = _load()
        record = {"boot": boot_id(), "before": before, "labs": sorted({*labs, lab})}
        files.write(_record(), json.dumps(record) + "\n")
        if FORWARD.read_text().strip() != "1":
            FORWARD.write_text("1\n")


def release(lab: str) -> None:
    """Say that ``lab`` no longer needs forwarding; the last one restores the value before."""
    with lock("sysctl", wait=True):
        before, labs = _load()
        labs = [name for name in labs if name != lab]
        if labs:
            record = {"boot": boot_id(), "before": before, "labs": labs}
            files.write(_record(), json.dumps(record) + "\n")
            return
        if FORWARD.read_text().strip() != before:
            FORWARD.write_text(before + "\n")
        _record().unlink(missing_ok=True)
