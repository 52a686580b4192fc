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


DPKG = """\
Setting up ca-certificates-java (20230710~deb12u1) ...
openjdk version "11.0.2" 2019-01-15
java.lang.UnsupportedClassVersionError: class file version 61.0
dpkg: error processing package ca-certificates-java (--configure):
 installed ca-certificates-java package post-installation script returned error exit status 1
Setting up zstd (1.5.4+dfsg2-5) ...
dpkg: dependency problems prevent configuration of openjdk-17-jre-headless:amd64:
"""


def test_a_package_that_does_not_install_is_told_with_what_its_script_said(plugin):
    packages = plugin("modules", "mammoctl_packages")
    said = packages.blamed(DPKG)
    assert "java.lang.UnsupportedClassVersionError: class file version 61.0" in said
    assert any("ca-certificates-java (--configure)" in line for line in said)
    assert any("exit status 1" in line for line in said)
    assert not any("zstd" in line for line in said)
    assert packages.blamed("Setting up zstd ...\n") == []
