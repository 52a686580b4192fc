"""The jobs that a cluster's master knows: find them, ask about them, end them."""

from __future__ import annotations

import difflib
import getpass
import json
import platform
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mammoctl.errors import JobError, UsageError
from mammoctl.jobs.account import account
from mammoctl.jobs.job import SYSTEM_PYTHON, is_id, job_folder
from mammoctl.jobs.package import AGENT, agent
from mammoctl.jobs.remote.records import ENDED
from mammoctl.ssh.commands import failed

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes


def submitter() -> str:
    """Return who we are, as it is kept with a job."""
    return f"{getpass.getuser()}@{platform.node()}"


def agent_argv(job: str, command: str, *words: str) -> list[str]:
    """Return the command line of a job's agent on the master."""
    folder = job_folder(job)
    return [SYSTEM_PYTHON, f"{folder}/{AGENT}", command, folder, *words]


def log_tail(nodes: Nodes, job: str, lines: int = 40) -> list[str]:
    """Return the last lines of a job's log."""
    argv = ["tail", "-n", str(lines), f"{job_folder(job)}/job.log"]
    return nodes.run(
        nodes.cluster.master.name, argv, sudo=account(nodes), check=False
    ).stdout.splitlines()


def kill(nodes: Nodes, job: str) -> tuple[str, dict[str, Any]]:
    """End a job; one that has ended stays what it is.

    Returns:
        Its state before, and its record now.

    Raises:
        UsageError: there is no such job.
        JobError: it does not end.
    """
    before = show(nodes, job)
    if before["state"]["state"] in ENDED:
        return before["state"]["state"], before["state"]
    master = nodes.cluster.master.name
    argv = agent_argv(job, "mark-kill", submitter())
    marked = nodes.run(master, argv, sudo=account(nodes), check=False)
    # The job may be what fills the disk, and its agent an older one.
    if marked.rc and not re.search("No space left|quota exceeded", marked.stderr):
        raise failed(marked)
    stop = ["systemctl", "stop", f"mammoctl-job-{job}.service"]
    said = nodes.run(master, stop, sudo=True, check=False)
    after = show(nodes, job)["state"]
    if after["state"] not in ENDED:
        raise JobError(
            f"the job {job} does not end: it is still {after['state']}",
            hint=f"try again; on {master}: sudo systemctl status mammoctl-job-{job}",
            details=said.stderr.strip().splitlines()[-3:],
        )
    return before["state"]["state"], after


def show(nodes: Nodes, job: str) -> dict[str, Any]:
    """Return a job's specification and state.

    Raises:
        UsageError: there is no such job.
        RemoteError: its record cannot be read.
    """
    master = nodes.cluster.master.name
    result = nodes.run(master, agent_argv(job, "show"), sudo=account(nodes), check=False)
    if result.rc and "FileNotFoundError" not in result.stderr and "No such" not in result.stderr:
        raise failed(result)  # the record is there and cannot be read or brought up to date
    if result.rc:
        raise unknown(job, nodes.cluster.name, [item["spec"]["id"] for item in list_jobs(nodes)])
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def unknown(job: str, cluster: str, known: Sequence[str]) -> UsageError:
    """Return the error for a job that is not there; names the one that was probably meant."""
    near = difflib.get_close_matches(job, known, n=1)
    return UsageError(
        f"there is no job {job} on {cluster}",
        hint=f"did you mean {near[0]}?" if near else "`mammoctl jobs list` shows all jobs",
    )


def resolve(nodes: Nodes, word: str) -> str:
    """Return the id of the job that a word means: an id, a part of one, or ``latest``.

    Raises:
        UsageError: it means none, or several.
    """
    if is_id(word):
        return word
    known = [str(item["spec"]["id"]) for item in list_jobs(nodes)]
    if not known:
        raise UsageError("there are no jobs", hint="start one with `mammoctl submit`")
    if word == "latest":
        return known[-1]
    matching = [job for job in known if job.startswith(word) or job.endswith(f"-{word}")]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UsageError(
            f"{word} may be any of {len(matching)} jobs",
            details=matching[-5:],
            hint="give the whole id, or its last four digits",
        )
    raise unknown(word, nodes.cluster.name, known)


def list_jobs(nodes: Nodes) -> list[dict[str, Any]]:
    """Return specification and state of every job on the cluster, oldest first."""
    # an agent of our own version for jobs of all versions; Python runs a zip from a file alone,
    # which lies in memory: who asks may want to make room on a full disk
    line = (
        "f=$(mktemp -p /dev/shm 2>/dev/null || mktemp) && "
        f'trap "rm -f $f" EXIT && cat >"$f" && {SYSTEM_PYTHON} "$f" list'
    )
    result = nodes.run(nodes.cluster.master.name, line, sudo=account(nodes), input=agent())
    jobs: list[dict[str, Any]] = json.loads(result.stdout)
    return sorted(jobs, key=lambda item: float(item["state"].get("submitted_at") or 0))
