"""Add workers to a cluster's inventory: reach them, have their keys pinned, look, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mammoctl import inventory as inventories
from mammoctl.errors import MammoctlError, UsageError
from mammoctl.init import keys, look
from mammoctl.init.draft import Draft, Login, jump_of
from mammoctl.init.keys import HostKey
from mammoctl.inventory import Cluster
from mammoctl.node import edit

if TYPE_CHECKING:
    from mammoctl.init.look import Machine

Confirm = Callable[[Sequence[HostKey]], None]


@dataclass(frozen=True)
class Newcomer:
    """A machine that is to join: what the inventory will say of it, and what it has."""

    draft: Draft
    machine: Machine
    values: dict[str, object]


def usual_login(cluster: Cluster) -> Login:
    """Return how the cluster's workers are logged in to; new ones get it from the same groups."""
    host = cluster.workers[-1]
    ports = {one.port for one in cluster.hosts.values()}
    # The port of one node alone may be its own, as behind a forwarding.
    port = host.port if len(ports) == 1 < len(cluster.hosts) else 22
    return Login(host.user, host.key_file, port, jump_of(host.ssh_options) or "")


def refuse_known(cluster: Cluster, drafts: Sequence[Draft]) -> None:
    """Refuse machines that the cluster has already.

    Raises:
        UsageError: a name or an address is known.
    """
    known = {(host.address, host.port): name for name, host in cluster.hosts.items()}
    for draft in drafts:
        same = known.get((draft.address, draft.login.port))
        if draft.name in cluster.hosts or same:
            raise UsageError(
                f"{cluster.name} has {same or draft.name} already"
                + (f" at {draft.address}" if same else ""),
                hint="to bring a node of the inventory into the cluster: mammoctl provision",
            )


def reach(cluster: Cluster, drafts: Sequence[Draft], confirm: Confirm) -> list[Newcomer]:
    """Pin the machines' keys in the cluster's known_hosts, log in, and look at them.

    Args:
        cluster: that they join.
        drafts: the machines.
        confirm: is shown the keys that are not trusted yet; raises when they are not right.

    Raises:
        ConnectionFailed: machines cannot be reached; all of them are named.
    """
    from mammoctl.ssh import Nodes, require_all

    found = keys.fetch(list(drafts), cluster.known_hosts)
    unknown = [key for key in found if not key.trusted]
    if unknown:
        confirm(unknown)
    with cluster.known_hosts.open("a", encoding="utf-8") as stream:
        stream.writelines(key.line() for key in found)
    usual = cluster.workers[-1]
    hosts = {
        draft.name: replace(
            usual, name=draft.name, address=draft.address, port=draft.login.port,
            user=draft.login.user, key_file=draft.login.key,
        )
        for draft in drafts
    }  # fmt: skip
    theirs = replace(cluster, hosts={**cluster.hosts, **hosts})
    with Nodes(theirs) as nodes:
        said = require_all(nodes.run_all(look.script(), hosts=list(hosts), timeout=60))
    login = usual_login(cluster)
    return [
        Newcomer(draft, look.parse(said[draft.name].stdout), _values(draft, login, cluster))
        for draft in drafts
    ]


def _values(draft: Draft, usual: Login, cluster: Cluster) -> dict[str, object]:
    """Return what the inventory must say of a machine, beside what its groups say."""
    values: dict[str, object] = {"ansible_host": draft.address}
    # Whether another port than SSH's comes from a group cannot be told: it is written down.
    if {draft.login.port, *(host.port for host in cluster.hosts.values())} != {22}:
        values["ansible_port"] = draft.login.port
    if draft.login.user and draft.login.user != usual.user:
        values["ansible_user"] = draft.login.user
    if draft.login.key and draft.login.key != usual.key:
        values["ansible_ssh_private_key_file"] = str(draft.login.key)
    return values


def write(cluster: Cluster, newcomers: Sequence[Newcomer]) -> Cluster:
    """Write the machines into the inventory and return the cluster as it is described now.

    Raises:
        UsageError: the inventory cannot be edited; it is as it was.
    """
    before = cluster.source.read_text(encoding="utf-8")
    text = before
    for one in newcomers:
        machine = one.machine
        about = f"{machine.pretty}, {machine.cores} cores, {machine.memory_mb / 1024:.1f} GiB"
        text = edit.added(text, one.draft.name, one.values, about, where=cluster.source)
    return rewrite(cluster, before, text, {one.draft.name for one in newcomers})


def rewrite(cluster: Cluster, before: str, after: str, changed: set[str]) -> Cluster:
    """Replace an inventory's text, and bring the old one back when it is not what was meant.

    Args:
        cluster: as it was.
        before: its text.
        after: the new one.
        changed: names that must have come, or gone.

    Raises:
        UsageError: the new text does not describe what was meant.
    """
    _replace(cluster, after)
    try:
        now = inventories.load(str(cluster.source))
        if set(now.hosts) ^ set(cluster.hosts) != changed:
            raise UsageError(
                f"{cluster.source} was edited and does not say what it should",
                hint="edit it by hand, then: mammoctl provision",
            )
    except MammoctlError:
        _replace(cluster, before)
        raise
    return now


def _replace(cluster: Cluster, text: str) -> None:
    """Write the inventory, whole or not at all, with the mode and owner that it has."""
    import os
    import shutil

    part = cluster.source.with_name(f".{cluster.source.name}.part")
    part.write_text(text, encoding="utf-8")
    shutil.copymode(cluster.source, part)
    seen = cluster.source.stat()
    if os.geteuid() == 0:
        os.chown(part, seen.st_uid, seen.st_gid)
    part.replace(cluster.source)
