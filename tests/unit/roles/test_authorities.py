"""The authorities of a node are brought up to date whenever ours are newer than they."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"


def test_they_follow_the_times_of_the_files(tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROLES / "common/tasks/configure.yml").read_text())
    argv = tasks[-1]["ansible.builtin.command"]["argv"]
    ours, bundle, programs = (tmp_path / name for name in ("ours", "bundle", "bin"))
    ours.mkdir()
    programs.mkdir()
    program = programs / "update-ca-certificates"
    program.write_text(f"#!/bin/sh\ntouch {bundle}\n")
    program.chmod(0o755)
    script = argv[2].replace("/usr/local/share/ca-certificates", str(ours))
    script = script.replace("/etc/ssl/certs/ca-certificates.crt", str(bundle))

    def run() -> str:
        done = subprocess.run(
            [*argv[:2], script],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.strip()

    assert run() == "updated"  # nothing is there yet
    assert run() == ""
    (ours / "others.crt").touch()
    assert run() == ""
    os.utime(bundle, (1, 1))
    (ours / "mammoctl-site.crt").touch()
    assert run() == "updated"
    assert run() == ""
