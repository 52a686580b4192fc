"""The data sets that are on the cluster: find one, compare it with what was sent, remove it."""

from __future__ import annotations

import difflib
import json
import secrets
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mammoctl.data.claim import claimed
from mammoctl.data.push import DESCRIPTION, IDS_ROOT, check_name, leftovers
from mammoctl.data.storage import Storage
from mammoctl.errors import DataError, RemoteError
from mammoctl.jobs.known import list_jobs
from mammoctl.jobs.remote.records import ALIVE

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of comparing a data set with its description.

    Attributes:
        name: of the data set.
        parts: how many files were read.
        size: bytes read.
        findings: what is wrong, in words; empty when all is as it was sent.
    """

    name: str
    parts: int = 0
    size: int = 0
    findings: list[str] = field(default_factory=list)


def names(storage: Storage) -> list[str]:
    """Return the names of the data sets; what is not finished has a dot before its name."""
    return sorted(name for name in storage.names(storage.paths.data) if not name.startswith("."))


def require(storage: Storage, name: str) -> str:
    """Return the name of a data set that is there.

    Raises:
        DataError: it is not; names the one that was probably meant.
    """
    check_name(name)
    known = names(storage)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    there = f"there are: {', '.join(known)}" if known else "there is none at all"
    raise DataError(
        f"there is no data set {name!r} on the cluster",
        hint=f"did you mean {near[0]}?" if near else there,
    )


def description(storage: Storage, name: str) -> dict[str, Any]:
    """Return the contents of a data set's ``dataset.json``; empty where it cannot be read."""
    uri = f"{storage.paths.data}/{name}/{DESCRIPTION}"
    try:
        value = json.loads(storage.read(uri) or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def verify(
    nodes: Nodes,
    deployment: ClusterFile,
    name: str,
    *,
    begin: Callable[[int], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Read a data set back on the cluster and compare every file with what was sent.

    Args:
        nodes: connections to the cluster.
        deployment: what is installed there.
        name: of the data set.
        begin: is told how many bytes there are to read.
        advance: is told the number of bytes of each file that was read.

    Raises:
        DataError: there is no such data set.
        RemoteError: the storage does not answer.
    """
    storage = Storage(nodes, deployment)
    require(storage, name)
    folder = f"{storage.paths.data}/{name}"
    told = description(storage, name)
    if not told:
        return Verdict(name, findings=[f"{DESCRIPTION} is missing or cannot be read"])
    sizes = {str(part["name"]): int(part["size"]) for part in told.get("parts", [])}
    sent = {str(part["name"]): str(part["sha256"]) for part in told.get("parts", [])}
    there = {one for one in storage.names(folder) if one != DESCRIPTION}
    findings = [f"{one} is missing" for one in sorted(sent.keys() - there)]
    findings += [f"{one} was never sent" for one in sorted(there - sent.keys())]
    present = sorted(sent.keys() & there)
    begin(sum(sizes[one] for one in present))
    for one in present:
        found = storage.sums([f"{folder}/{one}"])[0]
        advance(sizes[one])
        if found != sent[one]:
            sums = f"sha256 {found[:12] or 'unreadable'}, not {sent[one][:12]}"
            findings.append(f"{one} is damaged: {sums}")
    findings += _map_findings(nodes, name, int(told.get("images") or 0))
    return Verdict(name, len(present), sum(sizes[one] for one in present), findings)


def _map_findings(nodes: Nodes, name: str, images: int) -> list[str]:
    """Look at the map from ids to files, which is on the master for root alone."""
    path = shlex.quote(f"{IDS_ROOT}/{name}/ids.csv")
    line = f"stat -c '%a %U' {path} && wc -l <{path}"
    words = nodes.run(nodes.cluster.master, line, sudo=True, check=False).stdout.split()
    if len(words) != 3:
        return ["the map from ids to files is missing: push the data set again"]
    mode, owner, rows = words
    findings = []
    if (mode, owner) != ("600", "root"):
        findings.append(f"the map from ids to files can be read by others ({owner}, {mode})")
    if int(rows) - 1 < images:
        findings.append(f"the map from ids to files has {int(rows) - 1} rows for {images} images")
    return findings


def users(nodes: Nodes, name: str) -> list[str]:
    """Return the jobs at work, or waiting, that were given a data set."""
    return [
        str(item["spec"]["id"])
        for item in list_jobs(nodes)
        if item["state"]["state"] in ALIVE and item["spec"].get("data") == name
    ]


def require_any(storage: Storage, name: str) -> str:
    """Return the name of a data set of which there is anything, if only what was cut short.

    Raises:
        DataError: as of `require`.
    """
    check_name(name)
    return name if leftovers(storage.names(storage.paths.data), name) else require(storage, name)


def remove(nodes: Nodes, deployment: ClusterFile, name: str) -> None:
    """Remove a data set and its map from ids to files; it is gone at once, or not at all.

    Raises:
        DataError: there is no such data set, a job uses it, or it is being pushed.
        RemoteError: the storage failed.
    """
    storage = Storage(nodes, deployment)
    require_any(storage, name)
    with claimed(nodes, name):
        _remove(nodes, storage, name)


def _remove(nodes: Nodes, storage: Storage, name: str) -> None:
    if at_work := users(nodes, name):
        raise DataError(
            f"the data set {name} is used by {', '.join(at_work)}",
            hint=f"wait for its end, or end it: `mammoctl jobs kill {at_work[0]}`",
        )
    root = storage.paths.data
    entries = storage.names(root)
    # First what is left of others: without the data set, a push would put back the one before.
    steps: list[tuple[str, ...]] = [("remove", f"{root}/{one}") for one in leftovers(entries, name)]
    aside = f"{root}/.tmp-{name}-{secrets.token_hex(4)}"
    if name in entries:
        storage.change(*steps, ("move", f"{root}/{name}", aside))
        steps = [("remove", aside)]
    folder = f"{IDS_ROOT}/{name}"
    nodes.run(nodes.cluster.master, ["rm", "-rf", "--", folder], sudo=True)
    try:
        storage.change(*steps)
    except RemoteError as exc:
        raise RemoteError(
            f"{name} is removed, and its bytes are not: {exc.message}",
            hint="repeat this when the storage is well",
            details=exc.details,
        ) from exc


def size(about: Mapping[str, Any]) -> int:
    """Return the bytes of a data set's files on the storage, one copy of each."""
    return sum(int(part["size"]) for part in about.get("parts", []))
