"""Run a playbook: build argv and environment, follow its events, keep its full output in a log."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mammoctl import become, console, paths, redaction, runlog, vault
from mammoctl.ansible import events
from mammoctl.ansible.hints import hint_for
from mammoctl.errors import Interrupted, PlaybookFailed
from mammoctl.inventory import Cluster, ansible_env, ansible_program
from mammoctl.ssh.config import ssh_config

# Those of ansible.cfg, where a setting here takes their place.
_SSH_OPTIONS = (
    *("-o", "ControlMaster=auto", "-o", "ControlPersist=60s"),
    *("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=6"),
)
_SECONDS_TO_STOP = 20


@dataclass(frozen=True)
class PlaybookResult:
    """What a playbook did.

    Attributes:
        hosts: counts of tasks per host.
        changed: (host, task) for every change.
        warnings: (host, text) of what roles warned of.
        changes: the same in detail.
        diffs: (host, task, text) where differences were asked for.
        roles: seconds per role, or per play for tasks outside roles, in order.
        seconds: of the whole run, Ansible's start included.
        log: the file with Ansible's full output.
    """

    name: str
    hosts: Mapping[str, events.HostStats]
    changed: list[tuple[str, events.Task]]
    roles: Mapping[str, float]
    seconds: float
    log: Path
    warnings: list[tuple[str, str]] = field(default_factory=list)
    changes: list[events.Change] = field(default_factory=list)
    diffs: list[tuple[str, events.Task, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return the result as plain values, for ``--json``."""
        return {
            "schema": 1,
            "playbook": self.name,
            "seconds": round(self.seconds, 1),
            "hosts": {host: vars(stats) for host, stats in self.hosts.items()},
            "changed": [
                {"host": host, "task": str(task), "path": task.path} for host, task in self.changed
            ],
            "warnings": [{"host": host, "text": text} for host, text in self.warnings],
            "roles": {role: round(seconds, 1) for role, seconds in self.roles.items()},
            "log": str(self.log),
        }


def argv(
    name: str,
    cluster: Cluster,
    *,
    extra_vars: Mapping[str, object] | None = None,
    extra_args: Sequence[str] = (),
    limit: str | None = None,
    tags: str | None = None,
    check: bool = False,
    diff: bool = False,
) -> list[str]:
    """Return the command line of ``ansible-playbook`` (see `run_playbook`)."""
    line = [ansible_program("ansible-playbook"), "-i", str(cluster.source)]
    for item in extra_args:
        line += ["-e", item]
    if extra_vars:  # last, so that they win
        line += ["-e", json.dumps(dict(extra_vars), sort_keys=True)]
    if limit:
        line += ["--limit", limit]
    if tags:
        line += ["--tags", tags]
    if check:
        line.append("--check")
    if diff:
        line.append("--diff")
    return [*line, str(paths.playbook(name))]


def environment(cluster: Cluster, events_fd: int, ssh_config: Path | None = None) -> dict[str, str]:
    """Return the environment of ``ansible-playbook``.

    The cluster's known_hosts is the only one, whether or not the inventory says so itself. With
    ``ssh_config`` a jump host is reached as every other part of mammoctl reaches it: what stands
    in arguments of SSH is not passed on to it, what stands in its file is.
    """
    enabled = [name for name in os.environ.get("ANSIBLE_CALLBACKS_ENABLED", "").split(",") if name]
    settings = {
        "ANSIBLE_CALLBACKS_ENABLED": ",".join([*enabled, "mammoctl_events"]),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_NOCOWS": "1",
        "MAMMOCTL_EVENTS_FD": str(events_fd),
    }
    if ssh_config:
        settings["ANSIBLE_SSH_ARGS"] = shlex.join(["-F", str(ssh_config), *_SSH_OPTIONS])
    hosts = cluster.hosts.values()
    if not all(host.ssh_option("UserKnownHostsFile") for host in hosts):
        strict = shlex.join(
            f"-o{option}"
            for option in (
                f"UserKnownHostsFile={cluster.known_hosts}",
                "GlobalKnownHostsFile=/dev/null",
                "StrictHostKeyChecking=yes",
            )
        )
        # The inventory's ansible_ssh_common_args would replace common arguments from here.
        taken = any(host.vars.get("ansible_ssh_common_args") for host in hosts)
        names = ("SSH_EXTRA", "SFTP_EXTRA", "SCP_EXTRA") if taken else ("SSH_COMMON",)
        settings |= {f"ANSIBLE_{name}_ARGS": strict for name in names}
    return ansible_env(settings)


def run_playbook(
    name: str,
    cluster: Cluster,
    *,
    extra_vars: Mapping[str, object] | None = None,
    extra_args: Sequence[str] = (),
    limit: str | None = None,
    tags: str | None = None,
    check: bool = False,
    diff: bool = False,
    title: str = "",
    quiet_diffs: bool = False,
    watch: Callable[[events.Run], None] | None = None,
) -> PlaybookResult:
    """Run a playbook of the project on a cluster and show its progress.

    Args:
        name: the playbook's verb, such as ``provision``.
        cluster: where to run it.
        extra_vars: variables that override all others; no secrets (they show in argv).
        extra_args: further values for ``-e``, as the user wrote them.
        limit: a host pattern.
        tags: comma-separated tags.
        check: change nothing, say what would change.
        diff: show the differences of changed files.
        title: what to call the run on the screen; by default its name.
        quiet_diffs: leave them to the result instead of showing each as it comes.
        watch: is called after each event, with what has happened so far.

    Raises:
        PlaybookFailed: tasks failed or hosts could not be reached.
        VaultError: a secret is encrypted, and the password is missing; nothing was begun.
        Interrupted: Ctrl-C; Ansible has been stopped.
    """
    from mammoctl.ansible.render import renderer

    line = argv(
        name, cluster,
        extra_vars=extra_vars, extra_args=extra_args,
        limit=limit, tags=tags, check=check, diff=diff,
    )  # fmt: skip
    if not paths.playbook(name).is_file():
        raise PlaybookFailed(f"there is no playbook {paths.playbook(name)}")
    vault.require(cluster.path / "secrets")
    run = events.Run()
    began = time.monotonic()
    log = runlog.new(f"{name}-{cluster.name}", "ansible")
    # What the user gave with -e may hold a password.
    shown = redaction.Redactor().text(shlex.join(line))
    console.detail(f"$ {shown}\nlog: {log}")
    with renderer(run, title or name, cluster) as show, log.open("ab") as output:
        output.write(f"$ {shown}\n".encode())
        output.flush()
        with _process(line, cluster, output) as (process, stream):
            for raw in stream:
                if event := events.parse(raw):
                    run.add(event)
                    if watch:
                        watch(run)
                    if not (quiet_diffs and event.kind == "diff"):
                        show(event)
            rc = process.wait()
    if rc != 0:
        raise _failure(name, run, log, rc)
    return PlaybookResult(
        name, run.hosts, run.changed, run.groups, time.monotonic() - began, log,
        run.warnings, run.changes, run.diffs,
    )  # fmt: skip


@contextlib.contextmanager
def _process(
    line: list[str], cluster: Cluster, output: BinaryIO
) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO]]:
    """Start Ansible in a process group of its own, so that Ctrl-C reaches it once, from us."""
    reading, writing = os.pipe()
    process: subprocess.Popen[bytes] | None = None
    with os.fdopen(reading, "rb") as stream, ssh_config(cluster) as config:
        try:
            # From its first moment on Ansible is ours to stop.
            with _ended_like_ctrl_c():
                try:
                    process = subprocess.Popen(
                        line,
                        env=environment(cluster, writing, config),
                        cwd=paths.project_root(),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        pass_fds=(writing, *become.inherited()),
                        process_group=0,
                    )
                finally:
                    os.close(writing)
                yield process, stream
        except KeyboardInterrupt:
            _stop(process)
            raise Interrupted(
                "interrupted; Ansible has been stopped",
                hint="run the same command again: what is done already is not done twice",
                details=[f"log: {output.name}"],
            ) from None
        except BaseException:
            _stop(process)
            raise


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Treat a closed terminal and a plain `kill` as Ctrl-C: Ansible must not go on alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    """Ask Ansible to stop as Ctrl-C does, then insist; a second Ctrl-C shortens the wait."""
    if process is None:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(_SECONDS_TO_STOP)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue


def _failure(name: str, run: events.Run, log: Path, rc: int) -> PlaybookFailed:
    """Say where, on which hosts and why; equal messages of several hosts are told once."""
    told: dict[tuple[events.Task, str, bool], list[str]] = {}
    for failure in run.lasting_failures():
        key = (failure.task, failure.message, failure.unreachable)
        told.setdefault(key, []).append(failure.host)
    details: list[str] = []
    for (task, message, unreachable), hosts in told.items():
        what = "unreachable at" if unreachable else "failed:"
        details.append(f"{', '.join(hosts)} {what} {task}")
        if task.path:
            details.append(f"    at {_relative(task.path)}")
        details += [f"    {text}" for text in message.splitlines()[:30]]
    messages = [failure.message for failure in run.lasting_failures()]
    if not details:
        messages = _last_errors(log)
        details = messages or [f"ansible-playbook ended with status {rc}"]
    hosts = sorted({failure.host for failure in run.lasting_failures()})
    where = f" on {', '.join(hosts)}" if hosts else ""
    error = PlaybookFailed(
        f"{name} failed{where}" + (f" (play: {run.play})" if run.play else ""),
        details=[*details, f"full log: {log}"],
        hint=hint_for(messages) or "mend the cause, then run the same command again",
    )
    error.failures, error.warnings = run.lasting_failures(), run.warnings
    return error


def _relative(place: str) -> str:
    return place.removeprefix(f"{paths.project_root()}/")


def _last_errors(log: Path) -> list[str]:
    """Find what Ansible said when it never came to running a task (a syntax error, say)."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith(("[ERROR]", "ERROR!")):
            return [line for line in lines[index : index + 8] if line.strip()]
    return [line for line in lines[-5:] if line.strip()]
