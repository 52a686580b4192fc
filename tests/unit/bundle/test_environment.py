"""The packed environment: real wheels, installed by the real uv, compiled, in one archive."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import platform
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from pyarrow import CompressedInputStream, OSFile

from mammoctl.bundle import Target, environment
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store, Stored
from mammoctl.errors import BundleError

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
ARCH = "aarch64" if platform.machine() == "x86_64" else "x86_64"
SITE = f"lib/python{MINOR}/site-packages"
FILES = {
    "small/__init__.py": "def main():\n    return 42\n",
    "small/tests/__init__.py": "never = 'compiled'\n",
    "small/data.txt": "data\n",
    "small-1.data/scripts/tool.sh": "#!/bin/sh\necho tool\n",
    "small-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1\n",
    "small-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "small-1.dist-info/entry_points.txt": "[console_scripts]\nsmall = small:main\n",
    "small-1.dist-info/RECORD": "",
}


def add_wheel(store: Store, folder: Path) -> Stored:
    path = folder / "small-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in FILES.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return store.add(path)


def make(store: Store, folder: Path, target: Target) -> Stored:
    folder.mkdir(parents=True)
    wheel = add_wheel(store, folder)
    pinned = store.add_text(f"small==1 --hash=sha256:{wheel.sha256}\n", "requirements-cpu.txt")
    assert environment.stored(store, target, pinned) is None
    job = environment.job(store, target, "cpu", pinned, [wheel])
    job.work(folder, Runner())
    packed = environment.stored(store, target, pinned)
    assert packed is not None
    return packed


def unpacked(packed: Stored) -> dict[str, tarfile.TarInfo]:
    with OSFile(str(packed.path)) as raw, CompressedInputStream(raw, "zstd") as stream:
        data = stream.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(packed.path.parent / "out")  # noqa: S202  made by this test
        return {item.name: item for item in tar}


def test_an_environment_is_packed_for_another_machine(store: Store, tmp_path: Path) -> None:
    packed = make(store, tmp_path / "work", Target(MINOR, ARCH))
    assert packed.name == f"environment-py{MINOR}-{ARCH}-cpu.tar.zst"
    items = unpacked(packed)
    assert {(i.uid, i.gid, i.uname, i.gname) for i in items.values()} == {(0, 0, "", "")}
    assert {i.mode for i in items.values()} == {0o755, 0o644}
    assert items["bin/small"].mode == items["bin/tool.sh"].mode == 0o755
    assert items[f"{SITE}/small/data.txt"].mode == 0o644
    out = packed.path.parent / "out"
    lines = (out / "bin" / "small").read_text().splitlines()
    assert lines[0] == "#!/opt/mammoctl/env/bin/python"
    assert not any(str(tmp_path) in line or sys.executable in line for line in lines)
    assert (out / "bin" / "tool.sh").read_text() == "#!/bin/sh\necho tool\n"
    assert not [name for name in items if "uv-cache" in name or name.endswith(".lock")]


def test_the_bytecode_is_of_the_packed_modules(store: Store, tmp_path: Path) -> None:
    """A module is compiled again unless its bytecode names its source's time and size."""
    packed = make(store, tmp_path / "work", Target(MINOR, ARCH))
    items = unpacked(packed)
    tag = sys.implementation.cache_tag
    name = f"{SITE}/small/__pycache__/__init__.{tag}.pyc"
    assert name in items
    assert not [n for n in items if "tests/__pycache__" in n]
    content = (packed.path.parent / "out" / name).read_bytes()
    assert content[:4] == importlib.util.MAGIC_NUMBER
    _, mtime, size = struct.unpack("<3I", content[4:16])
    source = items[f"{SITE}/small/__init__.py"]
    assert (mtime, size) == (source.mtime, source.size)
    assert str(tmp_path).encode() not in content
    assert b"/opt/mammoctl/env/lib" in content


def test_the_same_wheels_give_the_same_archive(tmp_path: Path) -> None:
    sums = set()
    for number in ("one", "two"):
        store = Store(tmp_path / number / "store")
        sums.add(make(store, tmp_path / number / "work", Target(MINOR, ARCH)).sha256)
    assert len(sums) == 1


def test_a_python_that_this_machine_lacks_is_left_to_the_nodes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_find", lambda python, folder, runner: None)
    items = unpacked(make(store, tmp_path / "work", Target(MINOR, ARCH)))
    assert f"{SITE}/small/__init__.py" in items
    assert not [name for name in items if name.endswith(".pyc")]


def test_a_wheel_that_is_not_the_pinned_one_is_refused(store: Store, tmp_path: Path) -> None:
    wheel = add_wheel(store, tmp_path)
    wrong = hashlib.sha256(b"other").hexdigest()
    pinned = store.add_text(f"small==1 --hash=sha256:{wrong}\n", "requirements-cpu.txt")
    target = Target(MINOR, ARCH)
    folder = tmp_path / "work"
    folder.mkdir()
    with pytest.raises(BundleError, match="cannot be made from its wheels") as caught:
        environment.job(store, target, "cpu", pinned, [wheel]).work(folder, Runner())
    assert caught.value.hint
    assert environment.stored(store, target, pinned) is None
