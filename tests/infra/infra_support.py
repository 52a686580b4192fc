"""What the checks share: a node as they see it, and failures that say what mends them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mammoctl import role_settings
from mammoctl.inventory import Cluster, Host
from mammoctl.ssh.commands import quoted

PROGRAMS = Path(__file__).parent / "programs"
ENV_PYTHON = "/opt/mammoctl/env/bin/python"
AGAIN = "run `mammoctl provision` again"


class CheckFailed(AssertionError):
    """What was seen, and what mends it."""

    def __init__(self, seen: str, mend: str) -> None:
        super().__init__(f"{seen}\n  mend: {mend}")
        self.seen = seen
        self.mend = mend


def expect(ok: object, seen: str, mend: str = AGAIN) -> None:
    """Fail the check unless ``ok``.

    Args:
        ok: what must be true.
        seen: what is the case instead.
        mend: what to do about it.
    """
    if not ok:
        raise CheckFailed(seen, mend)


def setting(node: Node, name: str) -> str:
    """Return a role's variable: as the inventory has it for the node, else the role's default."""
    return str(role_settings.value(node.declared.vars, name))


def become_root(backend: Any, sudo: str, password: str | None) -> None:
    """Let testinfra's connection to a host use sudo as mammoctl does.

    Testinfra itself knows no password, and quotes for login shells like sh only.
    """

    def command(line: str, user: str | None) -> str:
        how = ["-k", "-S", "-p", ""] if password else ["-n"]
        who = ["-u", user] if user else []
        return quoted([sudo, *how, *who, "--", "/bin/sh", "-c", line])

    def run_local(line: str, *arguments: str) -> Any:
        shell = backend.encode(backend.quote(line, *arguments))
        done = subprocess.run(  # noqa: S602  as testinfra does it
            shell, shell=True, input=f"{password}\n".encode(), capture_output=True, check=False
        )
        return backend.result(done.returncode, shell, done.stdout, done.stderr)

    backend.get_sudo_command = command
    if password:
        backend.run_local = run_local


@dataclass
class Node:
    """A host with testinfra's view of it (as root); answers that cannot change are kept."""

    name: str
    declared: Host
    cluster: Cluster
    host: Any

    @property
    def is_master(self) -> bool:
        return self.name == self.cluster.master.name

    @property
    def is_worker(self) -> bool:
        return any(worker.name == self.name for worker in self.cluster.workers)

    def text(self, command: str, *arguments: str, mend: str = AGAIN) -> str:
        """Run a command, with ``%s`` for each (quoted) argument, and return what it says."""
        done = self.host.run(command, *arguments)
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        said = [line for line in said if "rror" in line][:1] or said
        expect(
            done.rc == 0,
            f"`{command.partition(' %s')[0][:80]}` ended with status {done.rc}"
            + (f": {said[-1]}" if said else ""),
            mend,
        )
        return str(done.stdout)

    def program(self, name: str, *arguments: str, user: str = "", python: str = "python3") -> Any:
        """Run one of ``programs/`` on the node, as ``user`` or root, and return its JSON."""
        source = (PROGRAMS / name).read_text(encoding="utf-8")
        become = f"runuser -u {user} -- " if user else ""
        line = f"{become}{python} -c %s" + " %s" * len(arguments)
        return json.loads(self.text(line, source, *arguments))

    @cached_property
    def record(self) -> dict[str, Any]:
        """The node's own copy of the cluster's record."""
        found: dict[str, Any] = json.loads(self.text("cat /etc/mammoctl/cluster.json"))
        return found

    @cached_property
    def state(self) -> dict[str, Any]:
        """Addresses, names, clock, listening sockets: one round trip (programs/state.py)."""
        found: dict[str, Any] = self.program("state.py", *self.cluster.hosts)
        return found

    @cached_property
    def address(self) -> str:
        """The address that the node's services are bound to."""
        return str(self.state["names"].get(self.name) or self.declared.address)

    def expect_service(self, unit: str) -> None:
        """Check that a unit runs and will run after a reboot; else show its last words."""
        service = self.host.service(unit)
        if not service.is_running:
            last = self.host.run("journalctl -u %s -n 4 -o cat --no-pager", unit).stdout.strip()
            expect(
                False,
                f"{unit} does not run; its last words:\n{last or '(none)'}",
                f"on {self.name}: sudo systemctl restart {unit}; "
                f"its log: sudo journalctl -u {unit}",
            )
        expect(
            service.is_enabled,
            f"{unit} runs but would not start at boot",
            f"on {self.name}: sudo systemctl enable {unit}",
        )

    def expect_file(self, path: str, mode: int, owner: str, group: str) -> None:
        """Check a file's permissions and owner."""
        found = self.host.file(path)
        expect(found.exists, f"{path} is missing")
        seen = f"{found.mode:04o} {found.user}:{found.group}"
        expect(
            seen == f"{mode:04o} {owner}:{group}",
            f"{path} is {seen} instead of {mode:04o} {owner}:{group}",
        )

    def listeners(self, port: int) -> list[dict[str, Any]]:
        """The sockets that listen on a TCP port."""
        return [entry for entry in self.state["listening"] if entry["port"] == port]

    def get_json(self, url: str) -> Any:
        """Fetch a JSON document from where this node stands."""
        return self.program("fetch.py", url)
