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
    names = ("ours", "bundle", "bin", "links")
    ours, bundle, programs, links = (tmp_path / name for name in names)
    for folder in (ours, programs, links):
        folder.mkdir()
    program = programs / "update-ca-certificates"
    fresh = f'[ "$1" != --fresh ] || rm -f {links}/*'
    program.write_text(f"#!/bin/sh\ntouch {bundle}\n{fresh}\n")
    program.chmod(0o755)
    script = argv[2].replace("/usr/local/share/ca-certificates", str(ours))
    script = script.replace("/etc/ssl/certs/ca-certificates.crt", str(bundle))
    script = script.replace("/etc/ssl/certs", str(links))

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
    site = ours / "mammoctl-site.crt"
    site.touch()
    assert run() == "updated"
    assert run() == ""
    (links / "mammoctl-site.pem").symlink_to(site)
    assert run() == ""
    site.unlink()
    assert run() == "updated", "one that was taken out is trusted no more"
    assert run() == ""


def test_each_has_a_name_of_its_own_and_begins_at_the_inventory(plugin, tmp_path: Path) -> None:
    rules = plugin("filter", "mammoctl_authority")
    for name, text in (("a/ca.pem", "A"), ("b/ca.pem", "B"), ("site.pem", "S")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    given = ["a/ca.pem", str(tmp_path / "b/ca.pem"), "site.pem"]
    *items, others = rules.authorities(given, str(tmp_path))
    assert len({item["path"] for item in items}) == 3
    assert [item["content"] for item in items] == ["A", "B", "S"]
    assert items[2]["path"] == "/usr/local/share/ca-certificates/mammoctl-site.crt"
    assert others == {
        "path": "/usr/local/share/ca-certificates/mammoctl-*.crt",
        "state": "others_absent",
    }
    # With one of them gone, the other keeps a plain name.
    assert rules.authorities(given[:1], str(tmp_path))[0]["path"].endswith("/mammoctl-ca.crt")
    assert rules.missing(["no.pem", "site.pem"], str(tmp_path)) == [str(tmp_path / "no.pem")]
