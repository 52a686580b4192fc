"""Runs tasks of the roles by Ansible itself, on hosts that are only described: this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rendering import ROOT

PROBLEMS = "ansible_facts['mammoctl_problems'] | default([])"


class Played(NamedTuple):
    """What came of it.

    Attributes:
        found: host -> name -> value of what was asked for.
        said: all that Ansible printed, its white space folded.
    """

    found: dict[str, dict[str, Any]]
    said: str

    def problems(self) -> dict[str, str]:
        """Return host -> what was found against it, all lines in one text."""
        return {name: "\n".join(found["problems"]) for name, found in self.found.items()}


def play(
    folder: Path,
    hosts: Mapping[str, Mapping[str, Any]],
    tasks: Sequence[Mapping[str, Any]],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    wanted: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    **variables: Any,
) -> Played:
    """Run tasks with the project's settings and variables.

    Args:
        folder: an empty one.
        hosts: their variables.
        tasks: what to do on all of them.
        groups: the hosts of further groups.
        wanted: name -> expression of Jinja, asked for at the end beside ``problems``.
        environment: of Ansible, beside that of the test.
        variables: of the play.
    """
    inventory = folder / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "group_vars" / "all").symlink_to(ROOT / "playbooks" / "group_vars" / "all")
    children = {name: {"hosts": dict.fromkeys(members)} for name, members in (groups or {}).items()}
    (inventory / "hosts.yml").write_text(
        yaml.safe_dump({"all": {"hosts": {**hosts}, "children": children}})
    )
    pairs = {"problems": PROBLEMS, **(wanted or {})}.items()
    asked = ", ".join(f"'{name}': ({expression})" for name, expression in pairs)
    tell = {
        "content": f"{{{{ {{{asked}}} | to_json }}}}",
        "dest": f"{folder}/{{{{ inventory_hostname }}}}.json",
    }
    whole = {
        "hosts": "all",
        "gather_facts": False,
        "connection": "local",
        "vars": {"ansible_python_interpreter": sys.executable, **variables},
        "tasks": [*tasks, {"copy": tell}],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([whole], sort_keys=False))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, "play.yml"],
        cwd=folder,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "LC_ALL": "C.UTF-8",
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in hosts}
    return Played(found, " ".join((done.stdout + done.stderr).split()))
