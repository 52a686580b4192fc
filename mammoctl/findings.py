"""What speaks against a host or a cluster, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mammoctl import pasted
from mammoctl.errors import MammoctlError


@dataclass(frozen=True)
class Finding:
    """One thing to mend.

    Attributes:
        host: the node's name; empty when it is about the cluster.
        seen: what is so, in words.
        mend: what to do about it.
        grave: whether something does not work because of it, or will not.
    """

    host: str
    seen: str
    mend: str = ""
    grave: bool = True

    def as_json(self) -> dict[str, object]:
        """Return the finding as plain values, for ``--json``."""
        mend = pasted.complete(self.mend)
        return {"host": self.host, "seen": self.seen, "mend": mend, "grave": self.grave}


def of_error(host: str, error: MammoctlError) -> Finding:
    """Return what a host's failure comes to."""
    return Finding(host, ": ".join([error.message, *error.details[:1]]), error.hint)


def lines(findings: Iterable[Finding]) -> list[str]:
    """Return the findings as lines of text; equal ones of several hosts are told once."""
    told: dict[tuple[str, str, bool], list[str]] = {}
    for one in findings:
        told.setdefault((one.seen, one.mend, one.grave), []).append(one.host)
    text = []
    for (seen, mend, _grave), hosts in told.items():
        where = ", ".join(host for host in hosts if host)
        text.append(f"{where}: {seen}" if where and not seen.startswith(where) else seen)
        text += [f"    mend: {pasted.complete(mend)}"] if mend else []
    return text
