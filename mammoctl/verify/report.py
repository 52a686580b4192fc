"""What `mammoctl verify` shows: parts by hosts, then every failure with its mend."""

from __future__ import annotations

from mammoctl.columns import Column, fits
from mammoctl.verify.run import Check, Verdict


def table(verdict: Verdict, hosts: list[str], width: int | None) -> list[Column]:
    """Return a row per part of the cluster, with a column per host.

    Where these are too many for the terminal: with sums, and the hosts that fail.

    Args:
        verdict: what was found.
        hosts: of the cluster, in order.
        width: of the terminal; None where there is none.
    """
    parts = list(dict.fromkeys(check.role for check in verdict.checks))
    of = {part: [check for check in verdict.checks if check.role == part] for part in parts}
    by_host = [
        Column(host, [_cell([check for check in of[part] if check.host == host]) for part in parts])
        for host in hosts
    ]
    head = Column("part", parts)
    if fits([head, *by_host], width):
        return [head, *by_host]
    bad = [dict.fromkeys(check.host for check in of[part] if _is_bad(check)) for part in parts]
    return [
        head,
        Column("all hosts", [_cell(of[part]) for part in parts]),
        Column("where not", [", ".join(names) for names in bad]),
    ]


def _is_bad(check: Check) -> bool:
    return check.outcome in ("failed", "error")


def _cell(checks: list[Check]) -> str:
    if not checks:
        return ""
    passed = sum(check.outcome == "passed" for check in checks)
    if bad := sum(map(_is_bad, checks)):
        return f"{bad} BAD"
    return f"{passed} ok" if passed else "skipped"


def failures(verdict: Verdict) -> list[str]:
    """Return the lines that explain what failed; the same reason on a host is told once."""
    told: dict[tuple[str, str, str, str], list[Check]] = {}
    for check in verdict.checks:
        if _is_bad(check):
            key = (check.role, check.host, check.seen, check.mend)
            told.setdefault(key, []).append(check)
    lines: list[str] = []
    for (role, host, seen, mend), checks in told.items():
        first = checks[0]
        subject = f" ({first.subject})" if first.subject else ""
        more = f" (and {len(checks) - 1} more)" if len(checks) > 1 else ""
        word = "could not be checked" if first.outcome == "error" else "failed"
        lines.append(f"{role} on {host} {word}: {first.what.rstrip('.')}{subject}{more}")
        lines += [f"    {line}" for line in seen.splitlines()]
        if mend:
            lines.append(f"    mend: {mend}")
    return lines


def skipped(verdict: Verdict) -> list[str]:
    """Return one line per reason why checks were left out."""
    reasons: dict[str, int] = {}
    for check in verdict.checks:
        if check.outcome == "skipped":
            reasons[check.seen] = reasons.get(check.seen, 0) + 1
    return [f"skipped {count}: {reason}" for reason, count in reasons.items()]


def summary(verdict: Verdict) -> str:
    """Return the closing line."""
    parts = [f"{verdict.count('passed')} passed"]
    for outcome, word in (
        ("failed", "FAILED"), ("error", "could not be checked"), ("skipped", "skipped")
    ):  # fmt: skip
        if count := verdict.count(outcome):  # type: ignore[arg-type]
            parts.append(f"{count} {word}")
    return f"{verdict.cluster}: {', '.join(parts)} in {verdict.seconds:.0f} s"
