"""At which addresses a node can be found: by the other nodes, and its services.

The playbooks decide it (``mammoctl_address`` in ``playbooks/group_vars/all/main.yml``), and what
they made of it is in the cluster's record. Here is what the inventory alone tells, for what needs
no record, or works before there is one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from mammoctl import paths, role_settings

if TYPE_CHECKING:
    from mammoctl.inventory import Host


def outer(host: Host) -> str:
    """Return a node's address on the hosts' own network, or a name that leads to it."""
    return str(host.vars.get("mammoctl_node_address") or host.address)


def has_wireguard(variables: Mapping[str, Any]) -> bool:
    """Tell whether the inventory wants the nodes to talk through WireGuard."""
    return role_settings.flag(variables, "wireguard_enabled")


def of_services(host: Host) -> str:
    """Return the address of a node's services; its name where the inventory does not tell."""
    if not has_wireguard(host.vars):
        return outer(host)
    subnet = str(role_settings.value(host.vars, "wireguard_subnet"))
    chosen = str(role_settings.value(host.vars, "wireguard_address") or "")
    return chosen or _address()(outer(host), subnet) or host.name


@cache
def _address() -> Callable[[str, str], str]:
    """Return the roles' own rule: plain Python, it imports nothing of Ansible."""
    path = paths.project_root() / "playbooks" / "plugins" / "filter" / "mammoctl_wireguard.py"
    spec = importlib.util.spec_from_file_location("mammoctl_wireguard", path)
    assert spec is not None and spec.loader is not None  # noqa: S101  a file of ours
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[[str, str], str] = module.address
    return function
