"""The one description of a cluster, read from a standard Ansible inventory.

Ansible itself reads it (``ansible-inventory``, in a process of its own); nothing here parses YAML.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mammoctl import host_name, inventory_text, paths
from mammoctl.errors import InventoryError, MammoctlError

VAULT_HINT = (
    "give the vault's present password: ANSIBLE_VAULT_PASSWORD_FILE=FILE names a file that holds "
    "it, or a program that prints it"
)
MASTER_GROUP = "spark_master"
WORKERS_GROUP = "spark_workers"
_FILE_NAMES = ("hosts.yml", "hosts.yaml", "hosts", "hosts.ini", "inventory.yml", "inventory.yaml")


@dataclass(frozen=True)
class Host:
    """One node, as a task of a playbook would see it.

    Attributes:
        address: what SSH connects to (an IP address or a resolvable name).
        user: the login, or None for SSH's own default.
        key_file: the private key, or None for SSH's own defaults and the agent.
        ssh_options: ``-o`` options that the inventory gives to SSH, by their names.
        vars: every variable of the host, templated; may hold secrets, so never shown.
    """

    name: str
    address: str
    port: int = 22
    user: str | None = None
    key_file: Path | None = None
    ssh_options: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    vars: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def ssh_option(self, name: str) -> str | None:
        """Return an SSH option of the inventory; names are case-insensitive, as for SSH."""
        wanted = name.lower()
        return next((v for k, v in self.ssh_options.items() if k.lower() == wanted), None)


@dataclass(frozen=True)
class Cluster:
    """A cluster: its hosts, which of them is the master and which are workers.

    Attributes:
        name: ``mammoctl_cluster`` of the inventory, else the name of its folder.
        path: the folder of the inventory (with ``known_hosts`` and ``secrets``).
        source: the inventory file, for ``ansible-playbook -i``.
        vars: the master's variables, which are the cluster's where nothing is set per host.
    """

    name: str
    path: Path
    source: Path
    hosts: Mapping[str, Host]
    master: Host
    workers: list[Host]
    vars: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def known_hosts(self) -> Path:
        """The pinned host keys of the cluster."""
        explicit = self.master.ssh_option("UserKnownHostsFile")
        return Path(explicit.split()[0]).expanduser() if explicit else self.path / "known_hosts"


def load(selector: str | None = None) -> Cluster:
    """Read a cluster's inventory.

    Args:
        selector: a path to an inventory folder or file, or a name under ``./inventory``; None
            for ``MAMMOCTL_INVENTORY``, else the only folder under ``./inventory``.

    Raises:
        InventoryError: there is no such inventory, it cannot be read, or it contradicts itself.
    """
    source = find(selector)
    inventory_text.require(source)
    document = read_document(source)
    return _cluster(source, document)


def find(selector: str | None = None, *, base: Path | None = None) -> Path:
    """Return the inventory file that a selector means (see `load`), looking below ``base``."""
    folder = (base or Path.cwd()) / "inventory"
    selector = selector or os.environ.get("MAMMOCTL_INVENTORY") or None
    known = _known(folder)
    if selector is None:
        if len(known) == 1:
            return _file_of(folder / known[0])
        if not known:
            raise InventoryError(
                f"no inventory under {folder}",
                hint="make a lab with `mammoctl lab up`, or describe your machines in "
                "inventory/NAME/hosts.yml (start from inventory/example), or give one with -i",
            )
        raise InventoryError(
            f"several inventories under {folder}: {', '.join(known)}",
            hint="choose one with -i NAME or MAMMOCTL_INVENTORY=NAME",
        )
    # A bare name means ./inventory/NAME first, not a folder that happens to be here.
    for candidate in (folder / selector, Path(selector).expanduser()):
        if candidate.is_dir():
            return _file_of(candidate)
        if candidate.is_file():
            return candidate.resolve()
    near = difflib.get_close_matches(selector, known, n=1)
    raise InventoryError(
        f"unknown inventory: {selector}",
        details=[f"known under {folder}: {', '.join(known) or 'none'}"],
        hint=f"did you mean `-i {shlex.quote(near[0])}`?"
        if near
        else "give a path or one of the known names",
    )


def selector(source: Path) -> str:
    """Return what ``-i`` takes for an inventory's file, as a word of the shell.

    That is not the cluster's name, which an inventory may set to another one than its folder's.
    """
    name = source.parent.name
    with suppress(InventoryError):
        if find(name) == source:
            return shlex.quote(name)
    return shlex.quote(str(source))


def _known(folder: Path) -> list[str]:
    """Names of the clusters below ./inventory; the example is nobody's cluster."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir()
        and entry.name != "example"
        and any((entry / name).is_file() for name in _FILE_NAMES)
    )


def _file_of(folder: Path) -> Path:
    for name in _FILE_NAMES:
        if (folder / name).is_file():
            return (folder / name).resolve()
    raise InventoryError(
        f"no inventory file in {folder}",
        hint=f"expected one of: {', '.join(_FILE_NAMES)}",
    )


def ansible_program(name: str) -> str:
    """Return the path of one of Ansible's programs, of the Ansible that mammoctl came with.

    Raises:
        MammoctlError: there is none.
    """
    beside = Path(sys.executable).with_name(name)
    program = str(beside) if beside.is_file() else shutil.which(name)
    if program is None:
        raise MammoctlError(
            f"{name} is not installed beside mammoctl",
            hint="install mammoctl again, with its dependencies (ansible-core)",
        )
    return program


def ansible_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for Ansible's programs: ours, with the project's settings on top."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "PYTHON"))}
    env.update(
        ANSIBLE_CONFIG=str(paths.project_root() / "ansible.cfg"),
        ANSIBLE_NOCOLOR="1",
        LANG="C.UTF-8",
        LC_ALL="C.UTF-8",
        PYTHONUNBUFFERED="1",
    )
    if given := env.get("ANSIBLE_VAULT_PASSWORD_FILE"):
        # Ansible runs in the project's folder, not where it was given.
        env["ANSIBLE_VAULT_PASSWORD_FILE"] = str(Path(given).expanduser().absolute())
    env.update(extra or {})
    return env


def read_document(source: Path) -> dict[str, Any]:
    """Return what ``ansible-inventory --list`` says of an inventory, with final values.

    Raises:
        InventoryError: Ansible cannot read it.
    """
    root = paths.project_root()
    program = root / "playbooks" / "plugins" / "cli" / "templated_inventory.py"
    argv = [sys.executable, str(program), "-i", str(source), "--list"]
    argv += ["--playbook-dir", str(root / "playbooks")]
    env = ansible_env(
        {
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
            # Of two hosts with one name Ansible would take the last, without a word of the first.
            "ANSIBLE_DUPLICATE_YAML_DICT_KEY": "error",
            # Asked to be talkative, Ansible talks on the standard output, too.
            "ANSIBLE_VERBOSITY": "0",
        }
    )
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _unreadable(source, done.stderr)
    document = json.loads(done.stdout)
    if not isinstance(document, dict):
        raise InventoryError(f"cannot read {source}: not an inventory")
    return document


def _unreadable(source: Path, stderr: str) -> InventoryError:
    """Reduce Ansible's many attempts (one per plugin) to the cause and its place."""
    where = re.search(rf"Origin: ({re.escape(str(source.parent))}\S+?:\d+(?::\d+)?)", stderr)
    cause = re.search(r"YAML parsing failed: (.+)", stderr)
    if "empty YAML file" in stderr or source.stat().st_size == 0:
        return InventoryError(f"the inventory {source} is empty", hint=_GROUPS_HINT)
    if cause:
        place = where[1] if where else str(source)
        return InventoryError(
            f"{place}: {cause[1].strip()}", hint="mend the YAML at that line and column"
        )
    lines = [line for line in stderr.splitlines() if line.strip()]
    is_vault = re.search(r"vault (secret|password)|Decryption failed", stderr)
    errors = [line for line in lines if "ERROR" in line] or lines[-3:]
    place = where[1] if where else str(source)
    return InventoryError(
        f"Ansible cannot read the inventory {place}",
        details=[line.strip() for line in errors[:5]],
        hint=VAULT_HINT
        if is_vault
        else f"see all of it with: ansible-inventory -i {shlex.quote(str(source))} --list",
    )


_GROUPS_HINT = (
    f"list the machines under the groups `{MASTER_GROUP}` (exactly one) and `{WORKERS_GROUP}` "
    "(one or more; the master may be in both); inventory/example shows how"
)


def members(document: Mapping[str, Any], group: str) -> list[str]:
    """Return the hosts of a group and of its children, in the inventory's order, each once."""
    entry = document.get(group) or {}
    names = list(entry.get("hosts") or [])
    for child in entry.get("children") or []:
        names += members(document, child)
    return list(dict.fromkeys(names))


def _cluster(source: Path, document: Mapping[str, Any]) -> Cluster:
    hostvars = (document.get("_meta") or {}).get("hostvars") or {}
    masters, workers = members(document, MASTER_GROUP), members(document, WORKERS_GROUP)
    if not members(document, "all"):
        raise InventoryError(f"the inventory {source} has no hosts", hint=_GROUPS_HINT)
    if len(masters) != 1:
        seen = ", ".join(masters) if masters else "none"
        raise InventoryError(
            f"the inventory {source} needs exactly one host in `{MASTER_GROUP}`; it has {seen}",
            hint=_GROUPS_HINT,
        )
    if not workers:
        raise InventoryError(f"no host in `{WORKERS_GROUP}` of {source}", hint=_GROUPS_HINT)
    groups: dict[str, set[str]] = {}
    for group in document:
        if group != "_meta":
            for name in members(document, group):
                groups.setdefault(name, set()).add(group)
    names = list(dict.fromkeys([*masters, *workers]))
    hosts = {name: _host(source, name, hostvars.get(name) or {}, groups[name]) for name in names}
    _refuse_duplicates(source, hosts.values())
    master = hosts[masters[0]]
    return Cluster(
        name=str(master.vars.get("mammoctl_cluster") or _default_name(source)),
        path=source.parent,
        source=source,
        hosts=hosts,
        master=master,
        workers=[hosts[name] for name in workers],
        vars=master.vars,
    )


def _default_name(source: Path) -> str:
    return source.parent.name if source.name in _FILE_NAMES else source.stem


def _host(source: Path, name: str, values: Mapping[str, Any], groups: Iterable[str]) -> Host:
    def text(*keys: str) -> str | None:
        for key in keys:
            value = values.get(key)
            if value is not None and str(value) != "":
                if "{{" in str(value):
                    raise InventoryError(
                        f"{source}: `{key}` of {name} cannot be resolved: {value}",
                        hint="use values that are known before connecting",
                    )
                return str(value)
        return None

    if not host_name.is_one(name):
        raise InventoryError(
            f"{source}: not a name for a node: {name!r} (Spark's addresses, such as "
            f"spark://{name}:7077, and HDFS cannot have it)",
            hint=host_name.hint(name),
        )
    connection = text("ansible_connection") or "ssh"
    if connection.rpartition(".")[2] not in {"ssh", "smart", "paramiko", "paramiko_ssh"}:
        raise InventoryError(
            f"{source}: {name} has ansible_connection={connection}",
            hint="nodes are reached over SSH only: remove that variable",
        )
    port = text("ansible_port", "ansible_ssh_port") or "22"
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InventoryError(f"{source}: `ansible_port` of {name} is not a port: {port}")
    try:
        options = ssh_options(
            text("ansible_ssh_common_args") or "", text("ansible_ssh_extra_args") or ""
        )
    except ValueError as exc:
        raise InventoryError(
            f"{source}: the SSH arguments of {name} cannot be read: {exc}",
            hint="close every quote in ansible_ssh_common_args and ansible_ssh_extra_args",
        ) from exc
    checking = next((v for k, v in options.items() if k.lower() == "stricthostkeychecking"), "yes")
    if checking.lower() not in {"yes", "ask", "true"}:
        raise InventoryError(
            f"{source}: {name} has StrictHostKeyChecking={checking}",
            hint=f"host keys are always checked; collect them in {source.parent / 'known_hosts'} "
            "and remove that option",
        )
    key = text("ansible_ssh_private_key_file", "ansible_private_key_file")
    return Host(
        name=name,
        address=text("ansible_host", "ansible_ssh_host") or name,
        port=int(port),
        user=text("ansible_user", "ansible_ssh_user", "ansible_remote_user"),
        key_file=Path(key).expanduser() if key else None,
        ssh_options=options,
        groups=frozenset(groups),
        vars=values,
    )


def ssh_options(*arguments: str) -> dict[str, str]:
    """Collect ``-o Name=Value`` and ``-J HOST``; as for SSH itself the first value counts.

    Raises:
        ValueError: a quote is not closed.
    """
    options: dict[str, str] = {}
    for argument in arguments:
        words = iter(shlex.split(argument))
        for word in words:
            if word == "-o":
                setting = next(words, "")
            elif word.startswith("-o"):
                setting = word[2:]
            elif word.startswith("-J"):
                setting = f"ProxyJump={word[2:] or next(words, '')}"
            else:
                continue
            name, _, value = setting.replace("=", " ", 1).strip().partition(" ")
            if name and not any(k.lower() == name.lower() for k in options):
                options[name] = value.strip()
    return options


def _refuse_duplicates(source: Path, hosts: Iterable[Host]) -> None:
    seen: dict[tuple[str, int], str] = {}
    for host in hosts:
        other = seen.setdefault((host.address, host.port), host.name)
        if other != host.name:
            raise InventoryError(
                f"{source}: {other} and {host.name} have the same address "
                f"{host.address} port {host.port}",
                hint="give each machine once, with its own `ansible_host`",
            )
