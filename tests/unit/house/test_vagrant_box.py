"""scripts/vagrant-box: what it refuses, and the box that it packs.

That the box boots is what `make test-vagrant` shows.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "vagrant-box"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("vagrant_box", str(SCRIPT))
    spec = importlib.util.spec_from_loader("vagrant_box", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the script's folder stays as it is
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def refusal(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_impossible_size_and_folder_are_refused_at_once(tmp_path: Path) -> None:
    assert "--size: 1 GiB" in refusal("-o", str(tmp_path / "a.box"), "--size", "1")
    where = tmp_path / "nowhere"
    assert f"there is no folder {where}" in refusal("-o", str(where / "a.box"))


def test_all_that_is_missing_is_named_with_its_package(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "n", "1", "1", "x86_64")))
    monkeypatch.setattr(script, "PUBLIC_KEYS", (str(tmp_path / "vagrant.pub"),))
    with pytest.raises(SystemExit) as refused:
        script.require()
    packages = {*script.TOOLS.values(), "vagrant"}
    assert packages <= set(str(refused.value).split())


def test_other_users_and_other_processors_are_refused(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "n", "1", "1", "x86_64")))
    with pytest.raises(SystemExit, match="sudo"):
        script.require()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "n", "1", "1", "aarch64")))
    with pytest.raises(SystemExit, match="x86-64 only"):
        script.require()


def test_box_has_what_libvirt_needs(script: ModuleType, tmp_path: Path) -> None:
    if not shutil.which("qemu-img"):
        pytest.skip("qemu-img is not installed")
    content = b"boot" * 128
    image, scratch, box = tmp_path / "disk.raw", tmp_path / "scratch", tmp_path / "a.box"
    scratch.mkdir()
    with image.open("wb") as stream:
        stream.write(content)
        stream.truncate(4 << 30)
    script.pack(scratch, image, 4, box)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.box", "disk.raw", "scratch"]
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", str(box), "-C", str(tmp_path / "out")], check=True)
    assert json.loads((tmp_path / "out" / "metadata.json").read_text()) == {
        "provider": "libvirt",
        "format": "qcow2",
        "virtual_size": 4,
    }
    assert "Vagrant.configure" in (tmp_path / "out" / "Vagrantfile").read_text()
    disk = tmp_path / "out" / "box.img"
    info = subprocess.run(
        ["qemu-img", "info", "--output=json", str(disk)], capture_output=True, check=True
    )
    about = json.loads(info.stdout)
    assert (about["format"], about["virtual-size"]) == ("qcow2", 4 << 30)
    assert disk.stat().st_size < 1 << 20
    back = tmp_path / "back.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(back)], check=True)
    with back.open("rb") as stream:
        assert stream.read(len(content)) == content
