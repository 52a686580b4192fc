"""The Ansible inventory of a lab: an ordinary cluster for every other command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mammoctl import files, inventory_text
from mammoctl.errors import LabError
from mammoctl.lab.limits import visible_cores
from mammoctl.lab.state import LabState

_FILES = ("hosts.yml", "known_hosts", "id_ed25519", "group_vars/all.yml")
_HEADER = "# Written by `mammoctl lab up`, removed by `mammoctl lab down`.\n"


def hosts_yaml(state: LabState) -> str:
    """Render ``hosts.yml``: the first node is the master, all nodes are workers."""
    lines = [_HEADER + "---", "all:", "  hosts:"]
    for node in state.nodes:
        lines += [
            f"    {node.name}:",
            f"      ansible_host: {node.address}",
            f"      spark_node_cores: {visible_cores(node.cpus)}",
            f"      spark_node_memory_mb: {node.memory_mb}",
        ]
    lines += ["  children:", "    spark_master:", "      hosts:", f"        {state.nodes[0].name}:"]
    lines += ["    spark_workers:", "      hosts:"]
    lines += [f"        {node.name}:" for node in state.nodes]
    return "\n".join(lines) + "\n"


def group_vars_yaml(state: LabState) -> str:
    """Render ``group_vars/all.yml``."""
    return f"""{_HEADER}---
# The cluster's name; folders and messages carry it.
mammoctl_cluster: {state.name}

# A user with password-free sudo, not root, as on a well-kept server.
ansible_user: admin
ansible_become: true
ansible_python_interpreter: /usr/bin/python3

# The lab's own key, and the host keys that it gave to its nodes: another key is refused.
ansible_ssh_private_key_file: "{{{{ inventory_dir }}}}/id_ed25519"
ansible_ssh_common_args: >-
  -o UserKnownHostsFile={{{{ inventory_dir }}}}/known_hosts
  -o GlobalKnownHostsFile=/dev/null
  -o StrictHostKeyChecking=yes
"""


def known_hosts(state: LabState, host_keys: dict[str, str]) -> str:
    """Render ``known_hosts`` from the public host key of each node."""
    return "".join(f"{n.name},{n.address} {host_keys[n.name]}\n" for n in state.nodes)


def require_own(folder: Path) -> None:
    """Refuse to overwrite an inventory that the lab did not write.

    Raises:
        LabError: there is one in ``folder``.
        InventoryError: no inventory can lie there.
    """
    inventory_text.require_place(folder.absolute())
    for name in ("hosts.yml", "group_vars/all.yml"):
        path = folder / name
        if path.exists() and not path.read_text().startswith(_HEADER):
            raise LabError(
                f"{path} was not written by the lab",
                hint="move it away, or choose another name for the lab with --name",
            )


def write(state: LabState, folder: Path) -> None:
    """Write the inventory into ``folder``; the key and known_hosts come from the lab's folder."""
    made = [path for path in (folder.parent, folder, folder / "group_vars") if not path.exists()]
    (folder / "group_vars").mkdir(parents=True, exist_ok=True)
    files.write(folder / "hosts.yml", hosts_yaml(state))
    files.write(folder / "group_vars" / "all.yml", group_vars_yaml(state))
    files.write(folder / "known_hosts", (state.dir / "known_hosts").read_text())
    files.write(folder / "id_ed25519", (state.dir / "id_ed25519").read_text(), mode=0o600)
    if (user := os.environ.get("SUDO_UID")) and (grp := os.environ.get("SUDO_GID")):
        # Under sudo the files belong to who called it: the other commands need no root.
        for path in (*made, *(folder / name for name in _FILES)):
            os.chown(path, int(user), int(grp))


def remove(folder: Path) -> None:
    """Remove what the lab wrote, and the secrets of a cluster that no longer exists."""
    for name in _FILES:
        path = folder / name
        # What an interrupted write left is ours, too.
        for left in (path, *path.parent.glob(f".{path.name}.*")):
            left.unlink(missing_ok=True)
    shutil.rmtree(folder / "secrets", ignore_errors=True)
    for path in (folder / "group_vars", folder):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
