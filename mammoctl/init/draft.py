"""The machines that are meant, from options, from ``~/.ssh/config`` or from another inventory."""

from __future__ import annotations

import fnmatch
import itertools
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mammoctl import host_name
from mammoctl import inventory as inventories
from mammoctl.errors import UsageError

_CLUSTER = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")


@dataclass(frozen=True)
class Login:
    """How machines are logged in to.

    Attributes:
        user: None for SSH's own default; so for the key.
        jump: ``[USER@]HOST[:PORT]`` of the machine in between, or an empty string.
    """

    user: str | None = None
    key: Path | None = None
    port: int = 22
    jump: str = ""


@dataclass(frozen=True)
class Draft:
    """A machine: its name in the inventory, where it is, and how to log in."""

    name: str
    address: str
    login: Login = Login()


def cluster_name(text: str) -> str:
    """Return the name of a cluster when it can be one.

    Raises:
        UsageError: it cannot: it becomes a folder and a part of messages.
    """
    if not _CLUSTER.fullmatch(text) or text == "example":
        raise UsageError(
            f"not a name for a cluster: {text!r}",
            hint="use small letters, digits, - and _, such as `ward`",
        )
    return text


def place(text: str) -> tuple[str | None, str, int | None]:
    """Return user, host and port of ``[USER@]HOST[:PORT]``; an IPv6 address is in brackets.

    Raises:
        UsageError: it is something else.
    """
    match = re.fullmatch(r"(?:([^@\s]+)@)?(\[[0-9a-fA-F:.]+\]|[^:\s@\[\]]+)(?::(\d+))?", text)
    if not match or (match[3] and not 0 < int(match[3]) < 65536):
        raise UsageError(f"not a host: {text!r}", hint="write [USER@]HOST[:PORT]")
    return match[1], match[2].strip("[]"), int(match[3]) if match[3] else None


def from_words(words: Iterable[str], login: Login) -> list[Draft]:
    """Return the machines of ``[NAME=][USER@]HOST[:PORT]``.

    An address without a name becomes ``node1``, ``node2`` and so on.

    Raises:
        UsageError: a word is something else, or two have the same name.
    """
    drafts = []
    for number, word in enumerate(words, 1):
        name, equals, rest = word.rpartition("=")
        user, host, port = place(rest)
        address_only = re.fullmatch(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", host)
        if not equals:
            name = f"node{number}" if address_only else host.partition(".")[0]
        own = replace(login, user=user or login.user, port=port or login.port)
        drafts.append(Draft(name, host, own))
    return _distinct(drafts)


def from_ssh_config(patterns: Sequence[str], login: Login, path: Path | None = None) -> list[Draft]:
    """Return the machines of an ``ssh_config`` whose aliases match one of the patterns.

    Args:
        patterns: aliases, with ``*`` and ``?``.
        login: what is not in the file; what the user gave by options wins over the file.
        path: the file; by default ``~/.ssh/config``.

    Raises:
        UsageError: there is no such file, nothing matches, or more than one jump is needed.
    """
    import paramiko

    path = path or Path.home() / ".ssh" / "config"
    if not path.is_file():
        raise UsageError(f"there is no {path}", hint="name the hosts with --host")
    config = paramiko.SSHConfig.from_path(str(path))
    known = [name for name in sorted(config.get_hostnames()) if not re.search(r"[*?!]", name)]
    names = [name for name in known if any(fnmatch.fnmatch(name, p) for p in patterns)]
    if not names:
        raise UsageError(
            f"no host in {path} matches {', '.join(patterns)}",
            hint=f"it has: {', '.join(known) or 'none'}",
        )
    drafts = []
    for name in names:
        found = config.lookup(name)
        keys: list[str] = list(found.get("identityfile") or [])
        jump = str(found.get("proxyjump") or "")
        if "," in jump or (jump in ("", "none") and found.get("proxycommand")):
            raise _by_hand(name, path)
        own = Login(
            user=login.user or found.get("user"),
            key=login.key or (Path(keys[0]).expanduser() if keys else None),
            port=login.port if login.port != 22 else int(found.get("port", 22)),
            jump=login.jump or (_resolve(config, jump) if jump not in ("", "none") else ""),
        )
        drafts.append(Draft(name, str(found.get("hostname") or name), own))
    return _distinct(drafts)


def _by_hand(name: str, path: Path) -> UsageError:
    return UsageError(
        f"{name} in {path} is reached over several jumps or a command of its own",
        hint="write its inventory by hand (inventory/example), with "
        "ansible_ssh_common_args: -o ProxyCommand=...",
    )


def jump_of(options: Mapping[str, str]) -> str | None:
    """Return the jump host in options of SSH as ``[USER@]HOST[:PORT]``; empty where there is none.

    None means that they say more than that: several jumps, or a command of its own.

    Raises:
        ValueError: a quote is not closed.
    """
    lower = {key.lower(): value for key, value in options.items()}
    jump = lower.get("proxyjump") or "none"
    if jump != "none":
        return None if "," in jump else jump
    command = lower.get("proxycommand") or "none"
    if command == "none":
        return ""
    words = shlex.split(command)
    if words[0].rpartition("/")[2] != "ssh" or "-W" not in words:
        return None
    given = dict(itertools.pairwise(words))
    user, port = given.get("-l", ""), given.get("-p", "")
    return (f"{user}@" if user else "") + words[-1] + (f":{port}" if port else "")


def _resolve(config: Any, jump: str) -> str:
    """Return a jump with its alias resolved: what Ansible is told must not need this file."""
    user, host, port = place(jump)
    found = config.lookup(host)
    user = user or found.get("user")
    port = port or int(found.get("port", 22))
    address = str(found.get("hostname") or host)
    return (f"{user}@" if user else "") + address + (f":{port}" if port != 22 else "")


def from_ansible(path: str, group: str, login: Login) -> list[Draft]:
    """Return the machines of another Ansible inventory, as Ansible reads it.

    Args:
        path: the inventory.
        group: whose hosts are meant.
        login: what the user gave by options; it wins.

    Raises:
        UsageError: it cannot be read, or the group has no hosts.
    """
    source = Path(path).expanduser()
    if not source.exists():
        raise UsageError(f"there is no inventory {source}", hint="give its file or folder")
    document = inventories.read_document(source.absolute())
    names = inventories.members(document, group)
    if not names:
        have = sorted(name for name in document if name not in ("_meta", "all"))
        raise UsageError(
            f"the group {group} of {source} has no hosts",
            hint=f"its groups: {', '.join(have)}",
        )
    variables = (document.get("_meta") or {}).get("hostvars") or {}
    return _distinct(
        [_of_ansible(name, variables.get(name) or {}, login, source) for name in names]
    )


def _of_ansible(name: str, values: Mapping[str, Any], login: Login, source: Path) -> Draft:
    def text(*keys: str) -> str:
        return next((str(values[key]) for key in keys if values.get(key)), "")

    try:
        options = inventories.ssh_options(
            text("ansible_ssh_common_args"), text("ansible_ssh_extra_args")
        )
        jump = login.jump or jump_of(options)
    except ValueError as exc:
        raise UsageError(
            f"the SSH arguments of {name} cannot be read: {exc}", hint="close every quote in them"
        ) from exc
    if jump is None:
        raise _by_hand(name, source)
    key = text("ansible_ssh_private_key_file", "ansible_private_key_file")
    port = text("ansible_port", "ansible_ssh_port")
    own = Login(
        user=login.user or text("ansible_user", "ansible_ssh_user", "ansible_remote_user") or None,
        key=login.key or (Path(key).expanduser() if key else None),
        port=login.port if login.port != 22 else int(port) if port.isdigit() else 22,
        jump=jump,
    )
    return Draft(name, text("ansible_host", "ansible_ssh_host") or name, own)


def _distinct(drafts: list[Draft]) -> list[Draft]:
    seen: dict[str, str] = {}
    for draft in drafts:
        if not host_name.is_one(draft.name):
            raise UsageError(
                f"not a name for a node: {draft.name!r}",
                hint=f"{host_name.hint(draft.name)} (NAME=ADDRESS)",
            )
        where = f"{draft.address} port {draft.login.port}"
        for what in (draft.name, where):
            if what in seen:
                raise UsageError(
                    f"{seen[what]} and {draft.name} are the same: {what}",
                    hint="give each machine once, with a name of its own (NAME=ADDRESS)",
                )
        seen |= {draft.name: draft.name, where: draft.name}
    return drafts
