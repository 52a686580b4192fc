"""Ask all hosts, then the roles, and put together what is in the way."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mammoctl import node_address, probe, role_settings
from mammoctl.check import look, roles
from mammoctl.check.look import Look, Peer
from mammoctl.errors import MammoctlError, NoRoot, PlaybookFailed
from mammoctl.findings import Finding, of_error
from mammoctl.probe import Facts

if TYPE_CHECKING:
    from mammoctl.bundle.model import Target
    from mammoctl.inventory import Cluster, Host
    from mammoctl.ssh import Nodes


@dataclass
class Report:
    """What was found.

    Attributes:
        facts: what the hosts are that could be asked.
        target: what they would be given; None while they do not fit.
        roles_checked: whether the roles' own checks were run: they need Ansible on every host.
    """

    cluster: Cluster
    facts: dict[str, Facts] = field(default_factory=dict)
    target: Target | None = None
    roles_checked: bool = False
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Tell whether nothing is in the way."""
        return not any(finding.grave for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values, for ``--json``; sizes in MiB."""
        return {
            "schema": 1,
            "cluster": self.cluster.name,
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "target": str(self.target) if self.target else None,
            "roles_checked": self.roles_checked,
            "hosts": [
                {"name": name, "address": host.address, "reached": name in self.facts}
                | (asdict(self.facts[name]) if name in self.facts else {})
                for name, host in self.cluster.hosts.items()
            ],
            "findings": [finding.as_json() for finding in self.findings],
        }


def check(nodes: Nodes, extra_args: Sequence[str] = (), given: str | None = None) -> Report:
    """Look at every host of a cluster and change nothing.

    Args:
        nodes: the way to them.
        extra_args: values for ``-e``, as the user wrote them.
        given: the bundle that the user names; what would be made here otherwise.

    Raises:
        UsageError: what the inventory chooses cannot be, or a variable is no number.
    """
    from mammoctl import become, python_runtime, sourcing
    from mammoctl.ansible import extra_vars
    from mammoctl.bundle import carried, interpreter

    began = time.monotonic()
    cluster = nodes.cluster
    report = Report(cluster)
    extra = extra_vars.read(extra_args)
    wanted = python_runtime.wish(cluster, extra)
    managed = python_runtime.managed(wanted)
    named = carried.named(given) if given else None
    sources = named.target.sources if named else sourcing.sources(cluster, extra)
    peers = {name: _peer(cluster, host) for name, host in cluster.hosts.items()}
    looks = _ask(nodes, look.script(peers), report)
    facts, found = report.facts, report.findings
    lock_wait_s = role_settings.number(cluster.vars, "common_apt_lock_timeout_s")
    for name, seen in looks.items():
        is_master = name == cluster.master.name
        brought = bool(sources.packages)
        found += look.of_host(
            name, seen, master=is_master, lock_wait_s=lock_wait_s, brought=brought
        )
    hosts_managed = role_settings.flag(cluster.vars, "common_manage_hosts")
    found += look.of_cluster(looks, peers, hosts_managed=hosts_managed)
    asking, room_mb = become.asking(cluster), probe.room_needed(cluster, extra)
    glibc = managed.glibc
    if facts:
        try:
            if named:
                probe.require_fit(facts, named, asking=asking, room_mb=room_mb)
                report.target = named.target
                glibc = own.glibc if (own := interpreter.brought(named)) else ""
            else:
                report.target = probe.choose_target(
                    facts,
                    runtime=wanted.runtime,
                    managed=managed,
                    sources=sources,
                    asking=asking,
                    room_mb=room_mb,
                )
        except probe.NodesUnfit as exc:
            found += [_split(cluster, line) for line in exc.details]
    if report.target:
        found += [] if named else _room_here(report.target)
        in_the_way = len(facts) < len(cluster.hosts) or any(
            isinstance(one, _RootFinding) for one in found
        )
        if not in_the_way:
            found += _roles(report, glibc, extra_args)
    if not report.roles_checked:  # they warn of the same
        found += [Finding("", text, grave=False) for text in probe.warnings(facts)]
    report.seconds = time.monotonic() - began
    return report


class _RootFinding(Finding):
    """No root: the roles' checks cannot be run there."""


def _ask(nodes: Nodes, line: str, report: Report) -> dict[str, Look]:
    def ask(host: Host) -> str:
        try:
            return nodes.run(host, line, sudo=True, timeout=60).stdout
        except NoRoot as exc:
            refused = of_error(host.name, exc)
            report.findings.append(_RootFinding(refused.host, refused.seen, refused.mend))
            return nodes.run(host, line, timeout=60).stdout

    looks = {}
    for name, said in nodes.each(ask).items():
        if isinstance(said, MammoctlError):
            report.findings.append(of_error(name, said))
        else:
            looks[name], report.facts[name] = look.parse(said), probe.parse(said)
    return looks


def _peer(cluster: Cluster, host: Host) -> Peer:
    name = "spark_master_port" if host is cluster.master else "spark_worker_port"
    return Peer(node_address.outer(host), role_settings.number(host.vars, name))


def _split(cluster: Cluster, line: str) -> Finding:
    name, _colon, text = line.partition(": ")
    if name not in cluster.hosts:
        return Finding("", line)
    seen, _colon, mend = text.partition(": ")
    return Finding(name, seen, mend)


def _roles(report: Report, glibc: str, extra_args: Sequence[str]) -> list[Finding]:
    assert report.target is not None  # noqa: S101  the caller has seen to it
    try:
        found = roles.findings(report.cluster, report.target, glibc, extra_args)
    except PlaybookFailed as exc:
        return [of_error("", exc)]
    report.roles_checked = True
    return found


def _room_here(target: Target) -> list[Finding]:
    """Tell when this machine cannot make what the nodes will be given."""
    from mammoctl.bundle import resolve

    try:
        resolve.require_room(target)
    except MammoctlError as exc:
        return [of_error("", exc)]
    return []
