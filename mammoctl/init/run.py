"""Reach every machine, have its key pinned, look at it, and make the inventory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mammoctl.errors import UsageError
from mammoctl.init import choose, keys, look, write
from mammoctl.init.choose import Duty
from mammoctl.init.draft import Draft
from mammoctl.init.keys import HostKey
from mammoctl.init.look import Machine
from mammoctl.inventory import Cluster, Host

Confirm = Callable[[Sequence[HostKey]], None]


@dataclass(frozen=True)
class Plan:
    """A new cluster, before it is written."""

    cluster: str
    drafts: list[Draft]
    keys: list[HostKey]
    machines: dict[str, Machine]
    duties: dict[str, Duty]

    def files(self) -> dict[str, str]:
        """Return the files of the inventory: text by path."""
        return {
            "hosts.yml": write.hosts_yaml(self.drafts, self.machines, self.duties),
            "group_vars/all.yml": write.group_vars_yaml(self.cluster, self.drafts),
            "known_hosts": "".join(key.line() for key in self.keys),
        }

    def as_json(self, folder: Path) -> dict[str, Any]:
        """Return the plan as plain values, for ``--json``; sizes in MiB."""
        pinned = {key.name: key for key in self.keys}
        return {
            "schema": 1,
            "cluster": self.cluster,
            "inventory": str(folder),
            "hosts": [
                {
                    "name": draft.name,
                    "address": draft.address,
                    "port": draft.login.port,
                    "user": draft.login.user,
                    "host_key": pinned[draft.name].fingerprint,
                    **asdict(self.duties[draft.name]),
                    **asdict(self.machines[draft.name]),
                }
                for draft in self.drafts
            ],
        }


def plan(cluster: str, drafts: list[Draft], master: str | None, confirm: Confirm) -> Plan:
    """Reach the machines and decide what each will do.

    Args:
        cluster: its name.
        drafts: the machines.
        master: the user's choice.
        confirm: is shown the keys that are not trusted yet; raises when they are not right.

    Raises:
        UsageError: no machines, a master that is none of them, or keys that were refused.
        ConnectionFailed: machines cannot be reached; all of them are named.
    """
    from mammoctl.ssh import Nodes, require_all

    if not drafts:
        raise UsageError("no hosts", hint="name them with --host")
    if master is not None and master not in [draft.name for draft in drafts]:
        names = ", ".join(draft.name for draft in drafts)
        raise UsageError(f"the master {master} is none of the hosts", hint=f"choose from {names}")
    with tempfile.TemporaryDirectory(prefix="mammoctl-") as folder:
        known_hosts = Path(folder) / "known_hosts"
        known_hosts.touch()
        pinned: list[HostKey] = []
        for group in (keys.jumps(drafts), drafts):
            found = keys.fetch(group, known_hosts)
            unknown = [key for key in found if not key.trusted]
            if unknown:
                confirm(unknown)
            with known_hosts.open("a", encoding="utf-8") as stream:
                stream.writelines(key.line() for key in found)
            pinned += found
        with Nodes(_temporary(cluster, drafts, known_hosts)) as nodes:
            said = require_all(nodes.run_all(look.script(), timeout=60))
    machines = {name: look.parse(out.stdout) for name, out in said.items()}
    return Plan(cluster, drafts, pinned, machines, choose.choose(machines, master))


def _temporary(cluster: str, drafts: list[Draft], known_hosts: Path) -> Cluster:
    hosts = {}
    for draft in drafts:
        options = {"UserKnownHostsFile": str(known_hosts)}
        if command := keys.jump_command(draft.login, str(known_hosts)):
            options["ProxyCommand"] = command
        login = draft.login
        hosts[draft.name] = Host(
            draft.name, draft.address, login.port, login.user, login.key, options
        )
    first = next(iter(hosts.values()))
    return Cluster(cluster, known_hosts.parent, known_hosts, hosts, first, list(hosts.values()))
