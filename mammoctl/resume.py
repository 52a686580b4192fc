"""How far a provision has come, so that `--resume` goes on there.

The record lies on this machine, beside the logs. Whole roles are passed over, and only as long as
nothing that they depend on has changed since: the inventory, the options, the bundle, the roles.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import files, paths, roles
from mammoctl.errors import UsageError

if TYPE_CHECKING:
    from mammoctl.ansible.events import Run
    from mammoctl.inventory import Cluster
    from mammoctl.provision import Request


@dataclass
class Record:
    """A provision that was begun and has not ended well.

    Attributes:
        cluster: its name.
        fingerprint: of all that the finished roles depend on.
        extra_vars: the options ``-e``, as the user wrote them, but for those with secrets.
        withheld: how many have secrets: they are asked for again.
        tags: the option ``--tags``.
        limit: the nodes of the option ``--limit``.
        bundle: the option ``--bundle``.
        role: the one that was being run.
        finished: those before, finished on every host.
        since: when it was begun, in unix seconds.
    """

    cluster: str
    fingerprint: str
    extra_vars: list[str] = field(default_factory=list)
    tags: str | None = None
    limit: list[str] = field(default_factory=list)
    bundle: str | None = None
    role: str = ""
    finished: list[str] = field(default_factory=list)
    since: float = 0.0
    withheld: int = 0


def without_secrets(extra_vars: Sequence[str]) -> tuple[list[str], int]:
    """Return the options ``-e`` that may be written down, and how many may not."""
    from mammoctl.redaction import Redactor

    kept = [text for text in extra_vars if Redactor().text(text) == text]
    return kept, len(extra_vars) - len(kept)


def extra_vars(before: Record, given: Sequence[str]) -> list[str]:
    """Return the options ``-e`` of a run that is resumed.

    Args:
        before: the run.
        given: those of the command that resumes it; they are all that count then.

    Raises:
        UsageError: some were not written down, and none is given.
    """
    if before.withheld and not given:
        raise UsageError(
            f"{before.withheld} of the run's -e had secrets, which are not written down",
            hint="give all -e of that run again, beside --resume",
        )
    return list(given) or before.extra_vars


def fingerprint(cluster: Cluster, request: Request, bundle: str) -> str:
    """Return a checksum of all that decides what roles do: secrets go in, and cannot come out.

    Args:
        cluster: every variable of its hosts counts.
        request: the options; files among the extra variables count with their content.
        bundle: key of the bundle.
    """
    known: dict[str, Any] = {
        "hosts": {name: [host.vars, sorted(host.groups)] for name, host in cluster.hosts.items()},
        "extra": [_content(text) for text in request.extra_vars],
        "limit": request.limit,
        "bundle": bundle,
        "roles": _newest(("roles", "playbooks")),
    }
    text = json.dumps(known, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(text: str) -> str:
    path = Path(text[1:]).expanduser() if text.startswith("@") else None
    return path.read_text(encoding="utf-8") if path and path.is_file() else text


def _newest(folders: Sequence[str]) -> int:
    """Return the latest change of a file of the project, in nanoseconds."""
    found = (
        (Path(top) / name).stat().st_mtime_ns
        for folder in folders
        for top, _, names in os.walk(paths.project_root() / folder)
        for name in names
        if not name.endswith(".pyc")
    )
    return max(found, default=0)


def _file(cluster: Cluster) -> Path:
    key = hashlib.sha256(str(cluster.source).encode()).hexdigest()[:16]
    return paths.log_dir() / f"unfinished-{cluster.name}-{key}.json"


class Progress:
    """Writes down how far a provision has come; its end takes the record away."""

    def __init__(self, cluster: Cluster, record: Record, finished: Sequence[str] = ()) -> None:
        self._path = _file(cluster)
        self._record = record
        self._roles = roles.names()
        record.finished = list(finished)
        record.since = record.since or time.time()
        self._write()

    def __call__(self, run: Run) -> None:
        """Take what has happened so far into account."""
        role = run.current.role if run.current.group in self._roles else ""
        if role and role != self._record.role:
            at = self._roles.index(run.current.group)
            self._record.role = role
            self._record.finished = list(self._roles[:at])
            self._write()

    def ended_well(self) -> None:
        """Forget the record."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        files.write(self._path, json.dumps(asdict(self._record)), mode=0o600)


def read(cluster: Cluster) -> Record:
    """Return the record of the last provision of a cluster.

    Raises:
        UsageError: it ended well, or none was begun here.
    """
    try:
        value = json.loads(_file(cluster).read_text(encoding="utf-8"))
        return Record(**value)
    except FileNotFoundError:
        raise UsageError(
            f"nothing to resume: no provision of {cluster.name} from this machine was broken off",
            hint="mammoctl provision",
        ) from None
    except (ValueError, TypeError):
        return Record(cluster.name, "")


def left(record: Record, now: str) -> list[str]:
    """Return the roles that are still to be run; all of them when something has changed since.

    Args:
        record: how far it came.
        now: the fingerprint of the present.
    """
    same = record.fingerprint == now
    return [role for role in roles.names() if not (same and role in record.finished)]
