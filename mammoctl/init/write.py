"""The inventory of a new cluster: plain Ansible, with a comment for everything in it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mammoctl.errors import UsageError
from mammoctl.init import keys
from mammoctl.init.choose import Duty
from mammoctl.init.draft import Draft, Login
from mammoctl.init.look import Machine, larger_disk


def common_login(drafts: list[Draft]) -> Login:
    """Return the login that most machines have; what differs stands at the machine."""
    logins = [draft.login for draft in drafts]
    return max(logins, key=logins.count)


def hosts_yaml(
    drafts: list[Draft], machines: Mapping[str, Machine], duties: Mapping[str, Duty]
) -> str:
    """Return ``hosts.yml``."""
    usual = common_login(drafts)
    lines = ["---", "# Made by `mammoctl init`; change it as you like.", "all:", "  hosts:"]
    for draft in drafts:
        machine = machines[draft.name]
        lines.append(f"    # {_about(machine)}")
        lines.append(f"    {scalar(draft.name)}:")
        lines.append(f"      ansible_host: {scalar(draft.address)}")
        if draft.login != usual:
            lines += [f"      {line}" for line in _login(draft.login, usual)]
        if disk := larger_disk(machine):
            lines.append(
                f"      # There is more room on {disk.path}: HDFS can keep its blocks there."
            )
            lines.append(f"      # hdfs_data_dir: {disk.path.rstrip('/')}/hdfs")
    master = next(name for name, duty in duties.items() if duty.master)
    lines += [
        "  children:",
        "    # Exactly one: Spark's master, the NameNode, and the drivers of jobs.",
    ]
    lines += ["    spark_master:", "      hosts:", f"        {scalar(master)}:"]
    lines += ["    # Where executors run and HDFS keeps its blocks; the master may be among them."]
    lines += [
        "    # The smallest heap is what every executor gets (docs/roles.md, Memory of a node)."
    ]
    heap_of = {name: duty.heap_mb for name, duty in duties.items() if duty.worker}
    others = [heap for name, heap in heap_of.items() if name != master]
    if others and master in heap_of and 2 * heap_of[master] < min(others):
        lines += [
            f"    # Without {master} among them it would be {min(others)} MiB instead of",
            f"    # {heap_of[master]}, on {len(others)} instead of {len(heap_of)} workers.",
        ]
    lines += ["    spark_workers:", "      hosts:"]
    for name, duty in duties.items():
        if duty.worker:
            lines.append(f"        {scalar(name)}:  # heap of an executor: {duty.heap_mb} MiB")
        elif not duty.master:
            lines.append(f"        # {name}: too little memory for an executor beside the services")
    return "\n".join(lines) + "\n"


def group_vars_yaml(cluster: str, drafts: list[Draft]) -> str:
    """Return ``group_vars/all.yml``."""
    usual = common_login(drafts)
    lines = [
        "---",
        "# The cluster's name; folders and messages carry it.",
        f"mammoctl_cluster: {cluster}",
        "",
        "# The login; it is root or has password-free sudo.",
        *_login(replace(usual, jump=""), Login()),
        *([] if usual.user else ["# ansible_user: admin"]),
        "ansible_python_interpreter: /usr/bin/python3",
        "",
        "# The hosts' keys are pinned in the file beside this inventory: another key is refused.",
        *_arguments(usual),
        "",
        "# Where data lies: hdfs (two nodes or more), shared (with mammoctl_shared_path) or local",
        "# (one node).",
        f"mammoctl_storage: {'hdfs' if len(drafts) > 1 else 'local'}",
        "",
        "# What else can be set, with its defaults: docs/roles.md",
    ]
    return "\n".join(lines) + "\n"


def _login(login: Login, usual: Login) -> list[str]:
    lines = []
    if login.user and login.user != usual.user:
        lines.append(f"ansible_user: {scalar(login.user)}")
    if login.key and login.key != usual.key:
        lines.append(f"ansible_ssh_private_key_file: {scalar(_home(login.key))}")
    if login.port != usual.port:
        lines.append(f"ansible_port: {login.port}")
    if login.jump != usual.jump:
        lines += _arguments(login)
    return lines


def _arguments(login: Login) -> list[str]:
    known_hosts = "{{ inventory_dir }}/known_hosts"
    lines = [
        "ansible_ssh_common_args: >-",
        f"  -o UserKnownHostsFile={known_hosts}",
        "  -o GlobalKnownHostsFile=/dev/null",
        "  -o StrictHostKeyChecking=yes",
    ]
    if command := keys.jump_command(login, known_hosts):
        lines.append(f'  -o "ProxyCommand={command}"')
    return lines


def _about(machine: Machine) -> str:
    """Say in a line what a machine is."""
    main = max(machine.disks, key=lambda disk: disk.free_mb, default=None)
    parts = [machine.pretty, f"{machine.cores} cores", f"{machine.memory_mb / 1024:.1f} GiB"]
    parts += [f"{main.free_mb / 1024:.0f} GiB free on {main.path}"] if main else []
    parts += [f"{machine.gpus} NVIDIA GPU"] if machine.gpus else []
    return ", ".join(parts)


def _home(path: Path) -> str:
    """Return a path below the home folder with ``~``: an inventory is shared by people."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def scalar(text: str) -> str:
    """Return a YAML scalar or key; quoted where it would be taken for something else."""
    import yaml

    try:
        plain = yaml.safe_load(f"{text}: {text}") == {text: text}
    except yaml.YAMLError:
        plain = False
    return text if plain else json.dumps(text)


def refuse_existing(folder: Path) -> None:
    """Refuse to write over an inventory.

    Raises:
        UsageError: there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is there already",
            hint="choose another name, or move it away; a node is added in its hosts.yml",
        )


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write an inventory, whole or not at all.

    Args:
        folder: ``inventory/NAME``.
        files: text by path below it.

    Raises:
        UsageError: there is something in the folder by now.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        new = Path(scratch) / "new"
        for name, text in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            # Who can change host keys decides what counts as a node, under any umask.
            path.chmod(path.stat().st_mode & ~0o022)
        refuse_existing(folder)
        if folder.is_dir():
            folder.rmdir()
        shutil.move(os.fspath(new), folder)
