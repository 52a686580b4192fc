"""Lines of ours in authorized_keys come and go; nobody else's byte changes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mammoctl.access import on_node

FOREIGN = (
    b"# the administrator's\r\n"
    b'from="10.0.0.0/8",no-pty ssh-ed25519 AAAAadmin admin@desk\n'
    b"ssh-rsa AAAAold mammoctl-access\n"
    b"ssh-rsa AAAAodd mammoctl-access name=maria since=soon by=x\n"
    b"\xff\xfe not text\n"
    b"ssh-ed25519 AAAAlast last@host"
)
MARIA = {"name": "maria", "kind": "ssh-ed25519", "blob": "AAAAmaria", "since": "7", "by": "a@b"}


@pytest.mark.parametrize("before", [b"", FOREIGN, FOREIGN + b"\n"])
def test_a_grant_and_its_revocation_leave_everything_else_as_it_was(before):
    after = on_node.granted(before, MARIA)
    assert after.startswith(before)
    assert after.endswith(b"ssh-ed25519 AAAAmaria mammoctl-access name=maria since=7 by=a@b\n")
    assert on_node.entries(after) == [MARIA]
    assert on_node.granted(after, {**MARIA, "since": "9"}) == after
    assert on_node.without(after, "mari") == after
    gone = on_node.without(after, "maria")
    assert gone == (before if not before or before.endswith(b"\n") else before + b"\n")


def test_a_line_that_only_looks_like_ours_is_not():
    assert on_node.entries(FOREIGN) == []
    assert on_node.without(FOREIGN, "maria") == FOREIGN


def test_another_key_of_the_same_name_takes_the_place_of_the_first():
    text = on_node.granted(on_node.granted(FOREIGN, MARIA), {**MARIA, "blob": "AAAAnew"})
    assert [one["blob"] for one in on_node.entries(text)] == ["AAAAnew"]


def test_the_same_key_in_a_foreign_line_is_noticed():
    assert on_node.strangers(FOREIGN, "AAAAadmin") == 1
    assert on_node.strangers(on_node.granted(FOREIGN, MARIA), "AAAAmaria") == 0
    assert on_node.strangers(b"# ssh-ed25519 AAAAadmin gone\n", "AAAAadmin") == 0


def run(home: Path, **request):
    """Run the program as a node does: its text on standard input, isolated."""
    argv = [sys.executable, "-", json.dumps(request)]
    text = Path(on_node.__file__).read_text()
    done = subprocess.run(
        argv, input=text, capture_output=True, text=True, check=True, env={"HOME": str(home)}
    )
    return json.loads(done.stdout)


def test_on_a_node(tmp_path):
    path = tmp_path / ".ssh" / "authorized_keys"
    assert run(tmp_path, action="list")["entries"] == []
    assert not path.exists()
    assert run(tmp_path, action="grant", **MARIA)["changed"] is True
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o640)
    path.write_bytes(path.read_bytes() + b"ssh-ed25519 AAAAmaria mine too\n")
    again = run(tmp_path, action="grant", **MARIA)
    assert (again["changed"], again["strangers"]) == (False, 1)
    gone = run(tmp_path, action="revoke", name="maria")
    assert (gone["changed"], gone["entries"], gone["strangers"]) == (True, [], 1)
    assert path.read_bytes() == b"ssh-ed25519 AAAAmaria mine too\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert run(tmp_path, action="revoke", name="maria")["changed"] is False
    assert [entry.name for entry in path.parent.iterdir()] == ["authorized_keys"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "elsewhere").write_text("ssh-ed25519 AAAA x\n")
    (tmp_path / ".ssh" / "authorized_keys").symlink_to(tmp_path / "elsewhere")
    run(tmp_path, action="grant", **MARIA)
    assert (tmp_path / ".ssh" / "authorized_keys").is_symlink()
    assert "maria" in (tmp_path / "elsewhere").read_text()
