"""Keep one node running: start it in its control group, again on reboot, and feed its views.

Runs as a process of its own (``python -m mammoctl.lab.supervise FOLDER``) that outlives the
command line. It has inherited the lock on ``FOLDER/supervisor``: while that is held, the node is
up. SIGTERM shuts the node down in good order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from mammoctl.lab import views
from mammoctl.lab.cgroups import Group

_REBOOT = 133  # systemd-nspawn's exit code when the node asked for a reboot
_STOP_SECONDS = 60


class Supervisor:
    """One node's supervisor; ``folder`` holds ``run.json``, written by `mammoctl.lab.node`."""

    def __init__(self, folder: Path) -> None:
        raw = json.loads((folder / "run.json").read_text())
        self.argv: list[str] = raw["argv"]
        self.limit: int = raw["memory_mb"] * 2**20
        self.cores: int = raw["visible_cores"]
        self.group = Group(
            tuple(Path(path) for path in raw["cgroup"]), raw["unified"], raw["scope"]
        )
        if self.group.scope:
            self.group.enter_scope()
            self.group.create(raw["memory_mb"], raw["cpus"], raw["cores"])
        self.view = folder / "view"
        self.stopping = 0.0

    def run(self) -> int:
        """Run the node until it powers off or is told to stop; return nspawn's exit code."""
        signal.signal(signal.SIGTERM, self._on_term)
        while True:
            code = self._boot_once()
            if code != _REBOOT or self.stopping:
                return code
            print("supervisor: the node asked for a reboot", flush=True)

    def _on_term(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = self.stopping or time.monotonic()

    def _boot_once(self) -> int:
        self._write_views()
        child = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            preexec_fn=self._enter,  # noqa: PLW1509  this process has no other thread
        )
        attached = asked = False
        while child.poll() is None:
            if not attached:
                attached = self._attach()
            if self.stopping and not asked:
                child.terminate()  # nspawn passes it on as a request to power off
                asked = True
            if self.stopping and time.monotonic() - self.stopping > _STOP_SECONDS:
                print("supervisor: the node does not shut down, killing it", flush=True)
                child.kill()
            self._write_meminfo()
            try:
                child.wait(0.02 if not attached else 1)
            except subprocess.TimeoutExpired:
                continue
        self.group.kill()
        return child.returncode

    def _enter(self) -> None:
        for folder in self.group.folders:
            (folder / "cgroup.procs").write_text("0")

    def _write_views(self) -> None:
        self.view.mkdir(exist_ok=True)
        (self.view / "cpuinfo").write_text(
            views.cpuinfo(Path("/proc/cpuinfo").read_text(), self.cores)
        )
        (self.view / "online").write_text(views.online(self.cores))
        self._write_meminfo()

    def _write_meminfo(self) -> None:
        usage, stat = self.group.memory()
        text = views.meminfo(self.limit, usage, views.parse_stat(stat)).encode()
        # In place: the node holds this very file as its /proc/meminfo.
        fd = os.open(self.view / "meminfo", os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(fd, text, 0)
        os.close(fd)

    def _attach(self) -> bool:
        """Put the views over the node's own files as soon as its init runs."""
        for pid in self.group.pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            spaces = next((x.split()[1:] for x in status.splitlines() if x.startswith("NSpid")), [])
            if name in ("systemd", "init") and len(spaces) > 1 and spaces[-1] == "1":
                script = (
                    "set -e; v=/run/mammoctl-view; mount --bind $v/meminfo /proc/meminfo; "
                    "mount --bind $v/cpuinfo /proc/cpuinfo; "
                    "mount --bind $v/online /sys/devices/system/cpu/online; "
                    "umount -l $v; rmdir $v"
                )
                argv = ["nsenter", "-t", str(pid), "-m", "-p", "sh", "-c", script]
                if subprocess.run(argv, check=False).returncode != 0:
                    print("supervisor: the node sees the machine's memory and cores", flush=True)
                self.group.limit_inside(pid)
                return True
        return False


def main() -> int:
    """Run the supervisor of the node in the folder given as the only argument."""
    folder = Path(sys.argv[1])
    code = Supervisor(folder).run()
    print(f"supervisor: the node has ended (exit code {code})", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
