"""A lab of a test module's own, for what would spoil the one that the others share."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .command import Cli, Finished


@dataclass
class OwnLab:
    """A lab by its name; its nodes are NAME1, NAME2 and so on."""

    cli: Cli
    name: str
    # How to become root on nodes where it is not `sudo -n`.
    root: dict[str, str] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.cli.cwd / "inventory" / self.name

    @property
    def nodes(self) -> list[str]:
        status = self.cli("lab", "status", "--name", self.name, "--json").json()
        return [node["name"] for node in status["nodes"]]

    def run(self, verb: str, *args: str, rc: int | None = 0, timeout: float = 1500) -> Finished:
        """Run a command of mammoctl on the lab; what follows ``--`` stays at the end."""
        at = args.index("--") if "--" in args else len(args)
        argv = (verb, *args[:at], "-i", self.name, *args[at:])
        return self.cli(*argv, rc=rc, timeout=timeout)

    def on(self, node: str, command: str, *, rc: int | None = 0, stdin: str = "") -> str:
        """Run a shell command as root on a node and return its standard output."""
        argv = self.cli.argv("lab", "exec", node, "--name", self.name, "--")
        done = subprocess.run(
            [*argv, f"{self.root.get(node, 'sudo -n')} sh -c {shlex.quote(command)}"],
            cwd=self.cli.cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if rc is not None:
            assert done.returncode == rc, f"{node}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def json_on(self, node: str, program: str) -> Any:
        """Run a Python program as root on a node and return the JSON that it prints."""
        return json.loads(self.on(node, "python3 -", stdin=program))

    @contextmanager
    def asking(self, node: str, password: str) -> Iterator[None]:
        """Let sudo on a node ask the login for a password; the tests have a way around it."""
        way = "/usr/local/sbin/way-around"
        self.on(node, f"printf '#!/bin/sh\\nexec \"$@\"\\n' > {way}; chmod 755 {way}")
        self.on(node, "chpasswd", stdin=f"admin:{password}\n")
        rules = f"admin ALL=(ALL:ALL) PASSWD: ALL\\nadmin ALL=(root) NOPASSWD: {way}\\n"
        self.on(
            node,
            "mkdir /root/sudoers && cp -p /etc/sudoers.d/* /root/sudoers/ &&"
            f" rm /etc/sudoers.d/* && printf '{rules}' > /etc/sudoers.d/zz-test",
        )
        self.root[node] = f"sudo -n {way}"
        try:
            yield
        finally:
            self.on(node, "rm /etc/sudoers.d/zz-test; mv /root/sudoers/* /etc/sudoers.d/")
            del self.root[node]
            self.on(node, f"rm -r {way} /root/sudoers; passwd -l admin")

    def snapshot(self, name: str) -> None:
        self.cli("lab", "snapshot", name, "--name", self.name)

    def restore(self, name: str) -> None:
        self.cli("lab", "restore", name, "--name", self.name)


@contextmanager
def own_lab(cli: Cli, name: str, subnet: str, *options: str) -> Iterator[OwnLab]:
    """Bring a lab up, and remove it at the end."""
    cli("lab", "down", "--name", name)
    try:
        cli("lab", "up", "--name", name, "--subnet", subnet, *options, timeout=900)
        yield OwnLab(cli, name)
    finally:
        cli("lab", "down", "--name", name)


@dataclass
class Ward:
    """A lab that modules borrow one after the other, each in the state that it asks for."""

    lab: OwnLab
    kept: Path

    def keep(self, state: str) -> None:
        """Keep the nodes and what this machine knows of them as ``state``."""
        self.lab.snapshot(state)
        shutil.copytree(self.lab.inventory, self.kept / state)

    def back_to(self, state: str) -> OwnLab:
        """Bring the nodes and the inventory back to what they were."""
        self.lab.restore(state)
        shutil.rmtree(self.lab.inventory)
        shutil.copytree(self.kept / state, self.lab.inventory)
        return self.lab
