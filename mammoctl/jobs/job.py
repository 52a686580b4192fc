"""What every job has, whatever it runs: an id, a folder, a unit, a program."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mammoctl.errors import UsageError
from mammoctl.jobs.account import DEFAULT

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile

JOBS_ROOT = "/var/lib/mammoctl/jobs"
SYSTEM_PYTHON = "/usr/bin/python3"

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,40}-\d{8}-\d{6}-[0-9a-f]{4}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_MEMORY = re.compile(r"(\d+)\s*([kmgt])b?", re.IGNORECASE)
_MIB = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024**2}


@dataclass(frozen=True, slots=True)
class Program:
    """What ``spark-submit`` runs: paths as the master sees them.

    Attributes:
        main: the script or archive.
        arguments: its own.
        conf: settings of Spark, over those that every job has and under the user's.
        lists: ``py-files``, ``jars``, ``files``, ``archives``: what travels to the executors.
        main_class: where `main` is a jar.
        environment: of the driver, beside what every job has.
    """

    main: str
    arguments: Sequence[str]
    conf: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    main_class: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A job: everything needed to run it again.

    Attributes:
        id: unique on its cluster; sorts by time within a name.
        kind: what it does.
        submitted_by: who submitted it, from which machine.
        submitted_at: seconds since the epoch.
        app_sha256: checksum of what was shipped.
        user: the account that it runs as.
        scratch: where Spark's scratch files lie on the master (`spark_var_dir`).
        notify: whom the master tells of its end, without what is secret in an address.
        conf: settings of Spark that the user asks for.
    """

    id: str
    _: KW_ONLY
    kind: str = "train"
    submitted_by: str = ""
    submitted_at: float = 0.0
    app_sha256: str = ""
    mammoctl: str = ""
    user: str = DEFAULT
    scratch: str = "/var/lib/spark"
    notify: tuple[str, ...] = ()
    conf: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The job's folder on the master."""
        return job_folder(self.id)

    @property
    def unit(self) -> str:
        """The job's systemd unit on the master."""
        return f"mammoctl-job-{self.id}.service"

    def program(self, deployment: ClusterFile) -> Program:
        """Return what is run on a cluster."""
        raise NotImplementedError

    def record(self, argv: list[str]) -> dict[str, Any]:
        """Return the document that is kept with the job."""
        return {"schema": 1, **asdict(self), "argv": argv}


def new_id(name: str, now: float | None = None) -> str:
    """Make the id of a job, such as ``train-20261121-104512-ab12`` (UTC).

    Raises:
        UsageError: the name has other signs than lower-case letters, digits and hyphens.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a job cannot be called {name!r}",
            hint="use lower-case letters, digits and hyphens, 41 at most",
        )
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}"


def is_id(text: str) -> bool:
    """Tell whether a text has the form of a job's id."""
    return bool(_ID.fullmatch(text))


def job_folder(job: str) -> str:
    """Return the folder of a job on the master, after checking the id.

    Raises:
        UsageError: this is no job's id.
    """
    if not is_id(job):
        raise UsageError(
            f"{job!r} is not a job's id", hint="`mammoctl jobs list` shows the jobs of the cluster"
        )
    return f"{JOBS_ROOT}/{job}"


def memory_mb(text: str) -> int:
    """Return the MiB of one of Spark's sizes, such as ``512m`` or ``2g``.

    Raises:
        UsageError: it is none; Spark takes a bare number for bytes, which nobody means.
    """
    match = _MEMORY.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{text!r} is no size of memory", hint="write it as 512m or 2g")
    return max(1, int(int(match[1]) * _MIB[match[2].lower()]))
