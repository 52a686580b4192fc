"""The lab's record of what it made, its folders and its locks.

What is about to be made is recorded before it is made, so that whatever an interruption leaves
behind can be found and removed; and nothing that is not recorded is ever touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mammoctl import files
from mammoctl.errors import LabError, UsageError

SCHEMA = 1
LOCKS = Path("/run/lock")


def labs_dir() -> Path:
    """Return the folder of all labs: ``MAMMOCTL_LAB_DIR``, else ``/var/lib/mammoctl/labs``."""
    return Path(os.environ.get("MAMMOCTL_LAB_DIR") or "/var/lib/mammoctl/labs")


def check_name(name: str) -> str:
    """Return ``name`` when it can be a lab's name (it becomes part of host names).

    Raises:
        UsageError: the name cannot be used.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,22}[a-z0-9])?", name):
        raise UsageError(
            f"--name: {name!r} cannot be a lab's name",
            hint="lower-case letters, digits and hyphens, first a letter, at most 24 characters",
        )
    return name


def boot_id() -> str:
    """Return the identity of this boot of the control machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass
class NodeState:
    """One node: what was asked for and which layers its file system has."""

    name: str
    address: str
    image: str
    memory_mb: int
    cpus: float
    cores: list[int]
    base: str = ""
    layers: list[int] = field(default_factory=list)
    upper: int = 1


@dataclass
class LabState:
    """A lab: its network, nodes and snapshots.

    ``snapshots`` maps a name to the layers of each node, the lowest first. ``network`` says that
    the network may exist, ``complete`` that ``lab up`` has reached its end once, ``pending`` which
    snapshot command has not, ``closed`` that the nodes reach nothing but each other.
    """

    name: str
    subnet: str
    gateway: str
    mirror: str = ""
    nodes: list[NodeState] = field(default_factory=list)
    snapshots: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    inventories: list[str] = field(default_factory=list)
    network: bool = False
    complete: bool = False
    pending: str = ""
    closed: bool = False
    schema: int = SCHEMA

    @property
    def dir(self) -> Path:
        """Return the lab's folder."""
        return labs_dir() / self.name

    @property
    def tag(self) -> str:
        """Return six characters that tell this lab's interfaces from another's."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:6]

    @property
    def bridge(self) -> str:
        """Return the bridge's name (an interface name has 15 characters at most)."""
        return f"mlab-{self.name}" if len(self.name) <= 10 else f"mlab-{self.tag}"

    @property
    def table(self) -> str:
        """Return the name of the lab's nftables table."""
        return "mammoctl_lab_" + self.name.replace("-", "_")

    @property
    def cgroup(self) -> str:
        """Return the name of the lab's control group."""
        return f"mammoctl-lab-{self.name}"

    def veth(self, node: NodeState) -> str:
        """Return the name of the node's interface on the control machine."""
        return f"ml{self.tag}n{self.nodes.index(node) + 1}"

    def node_dir(self, node: NodeState) -> Path:
        """Return the node's folder."""
        return self.dir / "nodes" / node.name

    def node(self, name: str) -> NodeState:
        """Return the node called ``name``.

        Raises:
            UsageError: there is none; the hint lists those that are.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise UsageError(f"lab {self.name} has no node {name!r}", hint=f"its nodes: {names}")

    def save(self) -> None:
        """Write the record; a reader sees the old one or the new one, never a part."""
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        files.write(self.dir / "lab.json", json.dumps(asdict(self), indent=2) + "\n")


def _known(kind: type, raw: dict[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    return {key: value for key, value in raw.items() if key in names}


def load(name: str) -> LabState | None:
    """Return the record of the lab ``name``, or nothing when there is no such lab.

    Raises:
        LabError: the record was written by another version of mammoctl or is damaged.
    """
    path = labs_dir() / check_name(name) / "lab.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        if not isinstance(raw, dict):
            raise TypeError("not a mapping")
        if raw.get("schema") != SCHEMA:
            raise ValueError(f"schema {raw.get('schema')}")
        nodes = [NodeState(**_known(NodeState, node)) for node in raw.pop("nodes")]
        return LabState(nodes=nodes, **_known(LabState, raw))
    except FileNotFoundError:
        return None
    except PermissionError as exc:
        raise LabError(f"{path} cannot be read", hint="use sudo") from exc
    except (ValueError, TypeError, KeyError) as exc:
        raise LabError(
            f"{path} cannot be understood ({exc})",
            hint="use the mammoctl that made this lab to take it down",
        ) from exc


def remove(state: LabState) -> None:
    """Remove the lab's folder, its record last."""
    if (state.dir / "nodes").exists():
        shutil.rmtree(state.dir / "nodes")
    for path in state.dir.iterdir():
        if path.name != "lab.json":
            path.unlink()
    (state.dir / "lab.json").unlink()
    sweep(state.name)


def sweep(name: str) -> None:
    """Remove folders that an interruption left empty."""
    folder = labs_dir() / check_name(name)
    (folder / "lab.json.tmp").unlink(missing_ok=True)
    for path in (folder, labs_dir(), labs_dir().parent):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def require(name: str) -> LabState:
    """Return the record of the lab ``name``.

    Raises:
        LabError: there is no such lab.
    """
    state = load(name)
    if state is None:
        others = sorted(path.parent.name for path in labs_dir().glob("*/lab.json"))
        known = f"; labs here: {', '.join(others)}" if others else ""
        option = "" if name == "lab" else f" --name {name}"
        raise LabError(f"there is no lab {name!r}{known}", hint=f"mammoctl lab up{option}")
    return state


@contextmanager
def lock(key: str, *, wait: bool, busy: str = "") -> Iterator[int]:
    """Hold the lock file ``key``; it is removed on release.

    Args:
        key: name of the lock.
        wait: wait for its holder, or refuse.
        busy: what to say when refusing.

    Yields:
        The lock's file descriptor, for children that must keep it.

    Raises:
        LabError: another process holds the lock and ``wait`` is false.
    """
    path = LOCKS / f"mammoctl-{key}.lock"
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode=0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise LabError(busy, hint="wait for it to end, then try again") from None
        except BaseException:
            os.close(fd)
            raise
        # The holder removes the file on release: make sure that it is still the one on disk.
        if path.exists() and path.stat().st_ino == os.fstat(fd).st_ino:
            break
        os.close(fd)
    try:
        yield fd
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)
