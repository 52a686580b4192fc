"""An inventory in another encoding is told by its line; Ansible says nothing of it."""

from __future__ import annotations

import pytest

from mammoctl import inventory, inventory_text
from mammoctl.errors import InventoryError


@pytest.mark.parametrize("name", ["hosts.yml", "group_vars/all.yml", "host_vars/n1/more.yml"])
def test_the_line_that_is_not_utf_8_is_named(tmp_path, name):
    (tmp_path / "hosts.yml").write_text("all: {}\n")
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"# caf\xc3\xa9\nall:\n  # caf\xe9 noir\n")
    with pytest.raises(InventoryError) as caught:
        inventory.load(str(tmp_path / "hosts.yml"))
    assert caught.value.message == f"{file}:3: not UTF-8: b'\\xe9 no'"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", [".DS_Store", "all/.DS_Store", ".cache/x.yml", "all/.notes.yml"])
def test_what_ansible_passes_over_need_not_be_text(tmp_path, name):
    (tmp_path / "hosts.yml").write_text("all: {}\n")
    file = tmp_path / "group_vars" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\0\xe9")
    inventory_text.require(tmp_path / "hosts.yml")
