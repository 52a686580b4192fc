"""What the roles themselves have against the hosts: their preflight, run on its own."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl.errors import PlaybookFailed
from mammoctl.findings import Finding

if TYPE_CHECKING:
    from mammoctl.bundle.model import Target
    from mammoctl.inventory import Cluster

_LINE = re.compile(r"(?P<seen>.*?; needed: .*?)\. (?P<mend>.*)", re.S)
_HEAD = re.compile(r"\d+ things? to mend first:")


def description(target: Target, glibc: str) -> dict[str, Any]:
    """Return a bundle's record as the checks read it, for the bundle that will be made.

    Args:
        target: what it will be made for.
        glibc: the oldest C library that its managed Python runs on, if it has one.
    """
    from mammoctl.bundle import debian, environment, parts

    served = {part.KIND: part.variants(target) for part in parts.wanted(target)}
    served[environment.KIND] = target.variants
    files: list[dict[str, Any]] = [
        {
            "kind": kind,
            "name": f"{kind}-glibc{glibc}",
            "sha256": "0" * 64,
            "variants": list(variants),
        }
        for kind, variants in served.items()
    ]
    files += [
        {"kind": debian.KIND, "name": f"{name}_0_all.deb", "releases": [release]}
        for release in target.sources.packages
        for name in debian.wanted(release, target.sources.packages_extra)
    ]
    return {
        "schema": 1,
        "key": "to-be-made",
        "target": {"python": target.python, "arch": target.arch, "variants": list(target.variants)},
        "requirements": {variant: {"sha256": "0" * 64} for variant in target.variants},
        "files": files,
    }


def findings(
    cluster: Cluster, target: Target, glibc: str, extra_args: Sequence[str]
) -> list[Finding]:
    """Run ``playbooks/preflight.yml`` and return what it found, on every host.

    Args:
        cluster: the hosts; all of them can be reached and have what Ansible needs.
        target: what they will be given.
        glibc: see `description`.
        extra_args: values for ``-e``, as the user wrote them.

    Raises:
        PlaybookFailed: it never came to a task.
    """
    from mammoctl.ansible.runner import run_playbook

    with tempfile.TemporaryDirectory(prefix="mammoctl-") as folder:
        file = Path(folder) / "bundle.json"
        file.write_text(json.dumps(description(target, glibc)), encoding="utf-8")
        try:
            warned = run_playbook(
                "preflight",
                cluster,
                # A lock that is held now is told now; provisioning waits for it.
                extra_vars={"mammoctl_bundle_file": str(file), "common_apt_lock_timeout_s": 0},
                extra_args=extra_args,
                title=f"checks of the roles on {cluster.name}",
            ).warnings
        except PlaybookFailed as exc:
            if not exc.failures:
                raise
            found = [
                one for failure in exc.failures for one in parse(failure.host, failure.message)
            ]
            return [*found, *remarks(exc.warnings)]
    return remarks(warned)


def remarks(warnings: Iterable[tuple[str, str]]) -> list[Finding]:
    """Return what roles warned of, (host, text), as findings that are in nobody's way."""
    found = []
    for host, text in warnings:
        # Under plain Ansible a warning does not show its host, so some tell it themselves.
        seen, _dot, mend = text.removeprefix(f"{host}: ").partition(". ")
        found.append(Finding(host, seen, mend, grave=False))
    return found


def parse(host: str, message: str) -> list[Finding]:
    """Return the findings of a failed task: those of the report, or the failure itself."""
    head, _newline, rest = message.partition("\n")
    if not _HEAD.fullmatch(head.strip()):
        return [Finding(host, message.strip(), "mend this, then check again")]
    found = []
    for line in rest.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match:
            found.append(Finding(host, match["seen"], match["mend"]))
        elif line.strip():
            found.append(Finding(host, line.strip()))
    return found
