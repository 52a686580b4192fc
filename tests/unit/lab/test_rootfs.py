"""What is laid into a node's file system from outside."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mammoctl.lab.rootfs import _let_in

KEY, OTHER = "ssh-ed25519 AAAA lab", "ssh-ed25519 BBBB maria"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def test_whoever_was_let_in_since_stays(home: Path) -> None:
    _let_in(home, KEY)
    keys = home / ".ssh" / "authorized_keys"
    assert keys.read_text() == f"{KEY}\n"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    keys.write_text(f"{KEY}\n{OTHER}\n")
    _let_in(home, KEY)
    assert keys.read_text() == f"{KEY}\n{OTHER}\n"
    _let_in(home, "ssh-ed25519 CCCC anew")
    assert keys.read_text().splitlines() == [KEY, OTHER, "ssh-ed25519 CCCC anew"]


def test_a_link_of_the_node_leads_nowhere(home: Path) -> None:
    outside = home / "outside"
    outside.write_text("of this machine\n")
    (home / ".ssh").mkdir()
    (home / ".ssh" / "authorized_keys").symlink_to(outside)
    _let_in(home, KEY)
    assert outside.read_text() == "of this machine\n"
    assert (home / ".ssh" / "authorized_keys").read_text() == f"{KEY}\n"
