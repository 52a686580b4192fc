"""Provision a cluster: look at its hosts, have what they need, predict, do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mammoctl.ansible.events import Run
    from mammoctl.ansible.runner import PlaybookResult
    from mammoctl.bundle import Bundle, Target
    from mammoctl.inventory import Cluster
    from mammoctl.plan import Plan
    from mammoctl.probe import Facts
    from mammoctl.resume import Record
    from mammoctl.ssh import Nodes


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        extra_vars: values for ``-e``, as written.
        tags: comma-separated tags.
        limit: the only nodes to be changed; all, when there are none.
        bundle: the one that was named, by its key or where it lies.
    """

    extra_vars: list[str] = field(default_factory=list)
    tags: str | None = None
    limit: list[str] = field(default_factory=list)
    bundle: str | None = None


@dataclass(frozen=True)
class Prepared:
    """What is known and ready before the hosts are changed.

    Attributes:
        facts: what each host is.
        target: what the hosts get.
        bundle: it, on this machine.
        seconds: that looking and preparing took.
    """

    facts: dict[str, Facts]
    target: Target
    bundle: Bundle
    seconds: float


def prepare(
    cluster: Cluster, extra_vars: Sequence[str], given: str | None = None, *, progress: bool
) -> Prepared:
    """Look at the hosts, decide what they get, and have it here.

    Args:
        cluster: the hosts.
        extra_vars: values for ``-e``, as the user wrote them.
        given: the bundle that the user names, by its key or where it lies; made here otherwise.
        progress: show a bar on a terminal and plain lines elsewhere.

    Raises:
        MammoctlError: hosts cannot be reached or cannot be nodes, or something cannot be had.
    """
    from mammoctl import become, bundle, console, probe, python_runtime, sourcing
    from mammoctl.ansible import extra_vars as variables
    from mammoctl.bundle import carried
    from mammoctl.ssh import Nodes

    began = time.monotonic()
    extra = variables.read(list(extra_vars))
    if given is not None:
        named = carried.named(given)
        console.step(f"Looking at {', '.join(cluster.hosts)}")
        with Nodes(cluster) as nodes:
            facts = probe.probe(nodes, extra)
        probe.require_fit(
            facts,
            named,
            asking=become.asking(cluster),
            room_mb=probe.room_needed(cluster, extra),
        )
        if carried.is_file(given):
            console.step(f"Taking the bundle {given} in ({named.target})")
            named = carried.opened(Path(given))
        sourcing.require_brought(cluster, extra, named)
        return Prepared(facts, named.target, named, time.monotonic() - began)
    wanted = python_runtime.wish(cluster, extra)
    managed = python_runtime.managed(wanted)
    sources = sourcing.sources(cluster, extra)
    console.step(f"Looking at {', '.join(cluster.hosts)}")
    with Nodes(cluster) as nodes:
        facts = probe.probe(nodes, extra)
    target = probe.choose_target(
        facts,
        runtime=wanted.runtime,
        managed=managed,
        sources=sources,
        asking=become.asking(cluster),
        room_mb=probe.room_needed(cluster, extra),
    )
    console.step(f"Preparing what the nodes need ({target})")
    prepared = bundle.ensure_bundle(target, progress=progress)
    return Prepared(facts, target, prepared, time.monotonic() - began)


def run(
    cluster: Cluster,
    prepared: Prepared,
    request: Request,
    *,
    tags: str | None = None,
    check: bool = False,
    diff: bool = False,
    title: str = "",
    quiet_diffs: bool = False,
    watch: Callable[[Run], None] | None = None,
) -> PlaybookResult:
    """Run the playbook; see `mammoctl.ansible.runner.run_playbook` for arguments and errors.

    Args:
        cluster: where.
        prepared: what `prepare` has returned.
        request: the user's options.
        tags: other ones than those of the request.
        check: change nothing.
        diff: show differences.
        title: what to call it.
        quiet_diffs: leave differences to the result.
        watch: is told how far it has come.
    """
    from mammoctl.ansible.runner import run_playbook

    given: dict[str, object] = {"mammoctl_bundle_file": str(prepared.bundle.path)}
    if request.limit:
        given["provision_hosts"] = ",".join(request.limit)
    return run_playbook(
        "provision",
        cluster,
        extra_vars=given,
        extra_args=request.extra_vars,
        tags=tags or request.tags,
        check=check,
        diff=diff,
        title=title or f"provision {cluster.name}",
        quiet_diffs=quiet_diffs,
        watch=watch,
    )


def predict(cluster: Cluster, prepared: Prepared, request: Request, *, diff: bool) -> Plan:
    """Return what a provision would change, by Ansible's check mode.

    Raises:
        PlaybookFailed: something speaks against a host; all hosts and reasons are named.
    """
    from mammoctl import plan

    result = run(
        cluster, prepared, request, check=True, diff=diff,
        title=f"plan {cluster.name}", quiet_diffs=True,
    )  # fmt: skip
    return plan.of(cluster.hosts, result)


def finished(cluster: Cluster, prepared: Prepared, request: Request, before: Record | None) -> str:
    """Return the roles that a run before has finished and that need not be run again."""
    from mammoctl import resume, roles

    if before is None or request.tags:
        return ""
    left = resume.left(before, resume.fingerprint(cluster, request, prepared.bundle.key))
    return ", ".join(role for role in roles.names() if role not in left)


def apply(
    cluster: Cluster,
    prepared: Prepared,
    request: Request,
    before: Record | None,
    diff: bool,
    *,
    option: str = "",
) -> PlaybookResult:
    """Provision, and write down how far it came.

    Args:
        cluster: where.
        prepared: what `prepare` has returned.
        request: the user's options.
        before: the run to be resumed.
        diff: show differences.
        option: the user's ``-i NAME``, for the hint.

    Raises:
        PlaybookFailed: it failed; the hint says how to go on.
        Interrupted: it was stopped.
    """
    from mammoctl import resume, roles
    from mammoctl.errors import Interrupted, PlaybookFailed

    mark = resume.fingerprint(cluster, request, prepared.bundle.key)
    left = resume.left(before, mark) if before and not request.tags else list(roles.names())
    kept, withheld = resume.without_secrets(request.extra_vars)
    record = resume.Record(
        cluster.name, mark, kept, request.tags, list(request.limit),
        request.bundle, withheld=withheld,
    )  # fmt: skip
    progress = resume.Progress(cluster, record, [r for r in roles.names() if r not in left])
    tags = ",".join(left) if len(left) < len(roles.names()) else None
    try:
        result = run(cluster, prepared, request, tags=tags, diff=diff, watch=progress)
    except (PlaybookFailed, Interrupted) as exc:
        again = f"mammoctl provision --resume {option}".rstrip()
        # What failed before any role did not leave anything to go on from.
        if record.role:
            exc.hint = f"{exc.hint}; to go on: {again}" if exc.hint else f"to go on: {again}"
        raise
    progress.ended_well()
    return result


def at_work(nodes: Nodes) -> list[str]:
    """Return the jobs and applications that run now, as far as the cluster tells."""
    from mammoctl import services
    from mammoctl.status.gather import gather

    return services.work(gather(nodes))
