"""What neither Ansible nor SSH says of an inventory: another encoding, a blank in its path."""

from __future__ import annotations

import shlex

import pytest
from typer.testing import CliRunner

from mammoctl import inventory, inventory_text
from mammoctl.cli import app
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


def test_a_path_with_a_blank_is_refused(tmp_path, monkeypatch):
    """Its known_hosts would be looked for at what is before the blank, and no key be known."""
    folder = tmp_path / "my project"
    (folder / "inventory" / "ward").mkdir(parents=True)
    (folder / "inventory" / "ward" / "hosts.yml").write_text("all: {}\n")
    monkeypatch.chdir(folder)
    with pytest.raises(InventoryError, match=r"cannot lie in .*/my project/inventory/ward"):
        inventory.load("ward")
    done = CliRunner().invoke(app, ["init", "other", "--host", "n1=192.0.2.1"])
    assert isinstance(done.exception, InventoryError)
    assert not (folder / "inventory" / "other").exists()


def test_what_names_an_inventory_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ward", "elsewhere/it's"):
        folder = tmp_path / ("inventory/ward" if name == "ward" else name)
        folder.mkdir(parents=True)
        (folder / "hosts.yml").write_text("all: {}\n")
        told = inventory.selector(folder / "hosts.yml")
        (word,) = shlex.split(told)
        assert inventory.find(word) == folder / "hosts.yml"
        assert (told == "ward") == (name == "ward")
