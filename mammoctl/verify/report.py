"""What `mammoctl verify` shows: hosts by roles, then every failure with its mend."""

from __future__ import annotations

from mammoctl.verify.run import Check, Verdict


def grid(verdict: Verdict, hosts: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows: one row per host, one column per role, counts in the cells."""
    roles = list(dict.fromkeys(check.role for check in verdict.checks))
    rows = []
    for host in hosts:
        cells = [_cell([c for c in verdict.checks if (c.host, c.role) == (host, r)]) for r in roles]
        rows.append([host, *cells])
    return ["host", *roles], rows


def _cell(checks: list[Check]) -> str:
    if not checks:
        return ""
    passed = sum(check.outcome == "passed" for check in checks)
    bad = sum(check.outcome in ("failed", "error") for check in checks)
    if bad:
        return f"{bad} BAD"  # short: eight roles fit into a line of 80 characters
    return f"{passed} ok" if passed else "skipped"


def failures(verdict: Verdict) -> list[str]:
    """Return the lines that explain what failed; the same reason on a host is told once."""
    told: dict[tuple[str, str, str, str], list[Check]] = {}
    for check in verdict.checks:
        if check.outcome in ("failed", "error"):
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
