"""What a further operator is handed: the cluster's description, without anybody's private key.

The secrets go with it. A machine without Spark's would make another one at the next `provision`,
and one without the key of the pseudonyms would give the same image another id.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import inventory as inventories
from mammoctl import rotation
from mammoctl.backup import archive, inventory
from mammoctl.errors import UsageError

if TYPE_CHECKING:
    from mammoctl.access.keys import PublicKey
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

KIND = "access"

_KEY = "ansible_ssh_private_key_file"
_SETTING = re.compile(
    r"""(?P<before>\bansible_(?:ssh_)?private_key_file["']?\s*[:=]\s*)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,}\#"'][^,}\#\s]*)"""
)


def require(nodes: Nodes, target: Path) -> None:
    """See that what an operator is handed can be written, before they are let in.

    Raises:
        UsageError: the file is there already, the host keys lie elsewhere, or the nodes have
            several logins that the inventory does not name.
    """
    cluster = nodes.cluster
    archive.require_free(target)
    if not cluster.known_hosts.is_relative_to(cluster.path):
        raise UsageError(
            f"the host keys of {cluster.name} lie outside of its inventory: {cluster.known_hosts}",
            hint=f"move them to {cluster.path / 'known_hosts'}, and name them in the inventory as "
            "{{ inventory_dir }}/known_hosts",
        )
    _login(nodes)


def write(nodes: Nodes, target: Path, name: str, key: PublicKey) -> dict[str, Any]:
    """Write what an operator is handed, and return its manifest; see `require` for errors."""
    from mammoctl.jobs.known import submitter

    require(nodes, target)
    cluster = nodes.cluster
    secrets = [*rotation.ROTATED, *rotation.kept(cluster.path)]
    with archive.draft(target) as parts:
        for path in inventory.files(cluster, keys=False, secrets=secrets):
            if b"PRIVATE KEY-----" in path.read_bytes():
                continue  # whosever it is
            parts.add(inventory.name_of(cluster, path), path)
        about = {
            "cluster": cluster.name,
            "name": name,
            "fingerprint": key.fingerprint,
            "made_by": submitter(),
            "login": _login(nodes),
            "inventory": {"folder": cluster.path.name, "source": cluster.source.name},
        }
        return parts.write(target, KIND, about)


def _login(nodes: Nodes) -> str:
    """Return the login that the inventory leaves to SSH; empty where it names every one."""
    left = [host for host in nodes.cluster.hosts.values() if not host.user]
    logins = {nodes.login(host) for host in left}
    if len(logins) > 1:
        raise UsageError(
            f"the nodes have several logins, and {nodes.cluster.source} does not name them",
            hint="set ansible_user for each",
        )
    return logins.pop() if logins else ""


def accept(saved: archive.Archive, where: Path, key: Path | None, *, force: bool) -> Cluster:
    """Make an inventory of what was handed over, and read it.

    Args:
        saved: the file.
        where: the inventory's folder.
        key: the private key to log in with; None for SSH's defaults and the agent.
        force: replace files that differ; the present ones go to a folder of their own.

    Raises:
        UsageError: another cluster is described there, or the key cannot be set.
    """
    manifest = saved.manifest
    source = str(manifest["inventory"]["source"])
    contents = {name: saved.read(name) for name in saved.names}
    if source not in contents:
        raise UsageError(f"{saved.path} has no inventory")
    contents = _for_us(contents, key, str(manifest["login"]))
    if (where / source).exists() and not force:
        raise UsageError(
            f"{where / source} is there already",
            hint="--force replaces what differs and puts the present files aside; or choose "
            "another folder with -i",
        )
    if (where / source).exists() and (other := inventories.load(str(where / source))).name != (
        manifest["cluster"]
    ):
        raise UsageError(
            f"{where / source} describes {other.name}, not {manifest['cluster']}",
            hint="choose another folder with -i",
        )
    inventory.put_back(where, contents, force=force)
    cluster = inventories.load(str(where / source))
    wrong = [h.name for h in cluster.hosts.values() if key and h.key_file != key]
    if wrong:
        raise UsageError(
            f"{where} does not lead to {key} for {', '.join(wrong)}",
            hint=f"set {_KEY} for them by hand; everything else is in place",
        )
    return cluster


def _for_us(contents: dict[str, bytes], key: Path | None, login: str) -> dict[str, bytes]:
    """Return the files with our key in place of the one that was named, and with the login."""
    texts = {
        name: content.decode("utf-8", "surrogateescape")
        for name, content in contents.items()
        if _is_text(name)
    }
    named = {m["value"].strip("\"'") for text in texts.values() for m in _SETTING.finditer(text)}
    if key:
        texts = {name: _with_key(text, named, str(key)) for name, text in texts.items()}
    missing = {"ansible_user": login} if login else {}
    if key and not named:
        missing[_KEY] = str(key)
    if missing:
        _add(texts, missing)
    done = {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()}
    return {**contents, **done}


def _is_text(name: str) -> bool:
    return name != "known_hosts" and not name.startswith("secrets/")


def _with_key(text: str, named: set[str], key: str) -> str:
    text = _SETTING.sub(lambda found: f'{found["before"]}"{key}"', text)
    # A jump host's command names the key, too.
    for value in sorted(named, key=len, reverse=True):
        text = text.replace(value, key)
    return text


def _add(texts: dict[str, str], values: dict[str, str]) -> None:
    """Add variables for all hosts; of several places the one that Ansible reads."""
    lines = "".join(f'{name}: "{value}"\n' for name, value in values.items())
    if any(name.startswith("group_vars/all/") for name in texts):
        texts["group_vars/all/access.yml"] = f"---\n{lines}"
        return
    for name in ("group_vars/all", "group_vars/all.yml", "group_vars/all.yaml"):
        if name in texts:
            texts[name] = f"{texts[name].rstrip()}\n{lines}"
            return
    texts["group_vars/all.yml"] = f"---\n{lines}"
