"""Who works with a host's packages is told before anything is asked of apt."""

from __future__ import annotations

import subprocess
import sys

HOLD = """
import fcntl, sys, time
stream = open(sys.argv[1], "w")
fcntl.lockf(stream, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_the_holder_of_a_lock_is_named(plugin, tmp_path, monkeypatch):
    packages = plugin("modules", "mammoctl_packages")
    lock = tmp_path / "lock-frontend"
    lock.touch()
    monkeypatch.setattr(packages, "LOCKS", (str(tmp_path / "none"), str(lock)))
    assert packages.holder() == ""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE) as held:
        try:
            assert held.stdout is not None
            held.stdout.readline()
            assert packages.holder().startswith("python")
            assert f"(process {held.pid})" in packages.holder()
        finally:
            held.kill()
    assert packages.holder() == ""
