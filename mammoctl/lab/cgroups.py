"""Control groups of our own that hold a node's processes and limit them, cgroups v1 or v2.

With v1, and with v2 where systemd does not rule the machine, the groups are made directly below the
root. With v2 under systemd each node gets a transient scope whose inside is delegated to us.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from mammoctl.errors import LabError
from mammoctl.lab.system import succeeds

PERIOD_US = 100_000
ROOT = Path("/sys/fs/cgroup")
_NEEDED = ("memory", "cpu", "cpuset")


def is_unified(root: Path = ROOT) -> bool:
    """Tell whether the machine has cgroups v2 only."""
    return (root / "cgroup.controllers").exists()


@dataclass(frozen=True)
class Group:
    """The control group of one node: one folder per hierarchy (v1) or a single one (v2).

    ``scope`` is the systemd scope around it, if any.
    """

    folders: tuple[Path, ...]
    unified: bool
    scope: str = ""

    @property
    def tops(self) -> tuple[Path, ...]:
        """Return the topmost folders that are the node's alone."""
        return tuple(path.parent for path in self.folders) if self.scope else self.folders

    def launcher(self) -> list[str]:
        """Return what to put before a command that is to make and enter the scope."""
        if not self.scope:
            return []
        words = ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={self.scope}"]
        return [*words, "--property=Delegate=yes", "--"]

    def enter_scope(self) -> None:
        """Move this process aside: a group with processes cannot have limited children."""
        aside = self.tops[0] / "supervisor"
        aside.mkdir(exist_ok=True)
        _write(aside / "cgroup.procs", str(os.getpid()))

    def folder(self, controller: str) -> Path:
        """Return the folder in which ``controller`` is set."""
        if self.unified:
            return self.folders[0]
        return next(
            path for path in self.folders if controller in path.parent.parent.name.split(",")
        )

    def create(self, memory_mb: int, cpus: float, cores: list[int]) -> None:
        """Make the group and set its limits; it may exist already.

        Args:
            memory_mb: memory limit in MiB, swap included.
            cpus: CPU time per time, in cores.
            cores: cores that the node may run on.
        """
        for path in self.folders:
            if self.unified:
                _enable([path.parent] if self.scope else [path.parent.parent, path.parent])
            path.mkdir(parents=True, exist_ok=True)
        limit = str(memory_mb * 2**20)
        quota = int(cpus * PERIOD_US)
        memory, cpu, cpuset = (self.folder(name) for name in _NEEDED)
        span = ",".join(str(core) for core in cores)
        if self.unified:
            _write(memory / "memory.max", limit)
            _write(memory / "memory.swap.max", "0", optional=True)
            _write(cpu / "cpu.max", f"{quota} {PERIOD_US}")
            _write(cpuset / "cpuset.cpus", span, optional=True)
            return
        for parent in (cpuset.parent, cpuset):  # a v1 cpuset starts empty and takes no process
            _write(parent / "cpuset.mems", (ROOT / "cpuset/cpuset.mems").read_text().strip())
            _write(parent / "cpuset.cpus", (ROOT / "cpuset/cpuset.cpus").read_text().strip())
        _write(cpuset / "cpuset.cpus", span)
        # memsw may never be below the plain limit: set it last when growing, first when shrinking
        for name in ("limit_in_bytes", "memsw.limit_in_bytes", "limit_in_bytes"):
            _write(memory / f"memory.{name}", limit, optional=True)
        if (memory / "memory.limit_in_bytes").read_text().strip() != limit:
            raise LabError(f"the memory limit of {memory} cannot be set to {memory_mb} MiB")
        _write(cpu / "cpu.cfs_period_us", str(PERIOD_US))
        _write(cpu / "cpu.cfs_quota_us", str(quota))

    def limit_inside(self, init: int) -> None:
        """Repeat the limits where the node sees its topmost group (v2): programs look there.

        They hold without that, so a kernel that does not want this is no failure.

        Args:
            init: the node's first process.
        """
        if not self.unified:
            return
        line = Path(f"/proc/{init}/cgroup").read_text().splitlines()[-1]
        own, there = self.folders[0], ROOT / line.split("::/")[-1]
        if own not in there.parents:
            return
        inside = there.relative_to(own).parts
        for name in _NEEDED:
            _write(own / "cgroup.subtree_control", f"+{name}", optional=True)
        for name in ("memory.max", "cpu.max"):
            _write(own / inside[0] / name, (own / name).read_text().strip(), optional=True)

    def pids(self) -> list[int]:
        """Return the processes in the group and below."""
        found: set[int] = set()
        for path in self._subgroups():
            try:
                found.update(int(pid) for pid in (path / "cgroup.procs").read_text().split())
            except OSError:  # it has just gone, or is a threaded group
                continue
        return sorted(found)

    def kill(self, timeout: float = 60) -> None:
        """Kill every process of the group and wait until they are gone.

        Raises:
            LabError: some do not go.
        """
        deadline = time.monotonic() + timeout
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if time.monotonic() > deadline:
                raise LabError(f"processes of a node do not end: {pids}", hint="try again")
            time.sleep(0.02)

    def end_scope(self) -> None:
        """Wait until systemd has forgotten an ended scope, so that its name is free again."""
        if self.scope:
            succeeds(["systemctl", "stop", self.scope])

    def remove(self) -> None:
        """Remove the group, which must be empty."""
        for path in sorted(self._subgroups(), reverse=True):
            if not (self.scope and path in self.tops):  # systemd removes its own
                _rmdir(path)
        self.end_scope()

    def _subgroups(self) -> list[Path]:
        """Return the groups of the node; they may come and go while it runs."""
        return [Path(found[0]) for top in self.tops for found in os.walk(top)]

    def memory(self) -> tuple[int, str]:
        """Return the bytes in use and the text of ``memory.stat``."""
        folder = self.folder("memory")
        usage = folder / ("memory.current" if self.unified else "memory.usage_in_bytes")
        return int(usage.read_text()), (folder / "memory.stat").read_text()


def group(lab_cgroup: str, node: str) -> Group:
    """Return the control group of ``node`` (which need not exist yet).

    Raises:
        LabError: the machine cannot limit memory or CPU time.
    """
    scope = ""
    folders: tuple[Path, ...]
    if is_unified():
        have = (ROOT / "cgroup.controllers").read_text().split()
        folders = (ROOT / lab_cgroup / node,)
        if Path("/run/systemd/system").is_dir():
            scope = f"{lab_cgroup}-{node}.scope"
            folders = (ROOT / "system.slice" / scope / "node",)
    else:
        hierarchies = sorted(
            path
            for path in ROOT.iterdir()
            if not path.is_symlink() and (path / "cgroup.procs").exists()
        )
        have = [name for path in hierarchies for name in path.name.split(",")]
        folders = tuple(path / lab_cgroup / node for path in hierarchies)
    if missing := [name for name in _NEEDED if name not in have]:
        raise LabError(
            f"this machine's control groups lack {', '.join(missing)}: limits would not hold",
            hint="boot the kernel with cgroup_enable=memory, or use another machine",
        )
    return Group(folders, is_unified(), scope)


def remove_parents(group_: Group) -> None:
    """Remove the lab's own folders above the nodes' groups, once they are empty."""
    if group_.scope:
        return
    for folder in group_.folders:
        _rmdir(folder.parent)


def _enable(folders: list[Path]) -> None:
    """Let children of ``folders`` (v2, the topmost first) have limits."""
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
        for name in (*_NEEDED, "pids"):
            _write(path / "cgroup.subtree_control", f"+{name}", optional=name in ("pids", "cpuset"))


def _write(path: Path, text: str, *, optional: bool = False) -> None:
    try:
        path.write_text(text)
    except OSError as exc:
        if not optional:
            raise LabError(f"{path} cannot be set to {text}: {exc.strerror}") from exc


def _rmdir(path: Path) -> None:
    for _ in range(100):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # the kernel lets go of the last process a moment later
            time.sleep(0.02)
        else:
            return
    raise LabError(f"{path} cannot be removed", hint="run `mammoctl lab down` again")
