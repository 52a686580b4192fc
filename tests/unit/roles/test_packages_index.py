"""A node's apt with the bundle's packages as its only source, for one call."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mammoctl.bundle import apt, debian

needs_apt = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg-deb"))), reason="apt-get and dpkg-deb are needed"
)


def _store(root: Path) -> Path:
    """Make a store of two packages, and return its index."""
    entries = []
    for name, needs in (("java", "Depends: libjvm (>= 2)\n"), ("libjvm", "")):
        build = root / "build" / name
        (build / "DEBIAN").mkdir(parents=True)
        (build / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 1:2.0\nArchitecture: amd64\nMaintainer: T <t@t>\n"
            f"{needs}Description: {name}\n"
        )
        deb = root / f"{name}.deb"
        subprocess.run(["dpkg-deb", "--build", build, deb], check=True, capture_output=True)
        sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
        control = subprocess.run(
            ["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True
        )
        (one,) = apt.paragraphs(
            f"{control.stdout}Size: {deb.stat().st_size}\nSHA256: {sha256}\nFilename: x\n"
        )
        place = root / "store" / sha256 / f"{name}_2.0_amd64.deb"
        place.parent.mkdir(parents=True)
        deb.rename(place)
        entries.append(debian.entry(one, f"{sha256}/{place.name}", "2026-11-20"))
    text = "\n".join(entries)
    index = root / "store" / hashlib.sha256(text.encode()).hexdigest() / "Packages"
    index.parent.mkdir()
    index.write_text(text)
    return index


class Node:
    """An apt with a root of its own, whose configured source cannot be reached."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d"):
            (root / name).mkdir(parents=True)
        for name in ("var/lib/apt/lists", "var/cache/apt/archives/partial", "var/lib/dpkg"):
            (root / name).mkdir(parents=True)
        (root / "var/lib/dpkg/status").touch()
        (root / "etc/apt/sources.list").write_text("deb http://unreachable.invalid/d x main\n")
        (root / "first.conf").write_text(
            f'Dir "{root}/";\nDir::State::status "{root}/var/lib/dpkg/status";\n'
            'APT::Architecture "amd64";\nAPT::Sandbox::User "root";\n'
            f'APT::Update::Post-Invoke {{ "touch {root}/other-lists-are-fresh"; }};\n'
        )

    def apt_get(self, *arguments: str) -> str:
        env = {**os.environ, "APT_CONFIG": str(self.root / "first.conf"), "LC_ALL": "C.UTF-8"}
        argv = ["apt-get", "-q", "-y", *arguments]
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout


@needs_apt
def test_the_index_is_the_only_source_and_nothing_of_it_stays(
    plugin, ansible_module, tmp_path: Path
) -> None:
    index, node = _store(tmp_path), Node(tmp_path / "node")
    with plugin("modules", "mammoctl_packages").only_source(ansible_module(), str(index)) as source:
        folder = Path(source[1]).parent
        node.apt_get(*source, "update")
        plan = node.apt_get(*source, "--simulate", "install", "java")
    installed = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst")]
    assert installed == ["libjvm", "java"]
    assert not folder.exists()
    assert list((node.root / "var/lib/apt/lists").iterdir()) == []
    assert not (node.root / "var/cache/apt/pkgcache.bin").exists()
    assert not (node.root / "other-lists-are-fresh").exists()


@needs_apt
def test_a_package_that_was_changed_in_the_store_is_refused_by_apt(
    plugin, ansible_module, tmp_path: Path
) -> None:
    index, node = _store(tmp_path), Node(tmp_path / "node")
    deb = next((tmp_path / "store").glob("*/libjvm_*"))
    deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    with plugin("modules", "mammoctl_packages").only_source(ansible_module(), str(index)) as source:
        node.apt_get(*source, "update")
        with pytest.raises(subprocess.CalledProcessError) as caught:
            node.apt_get(*source, "--download-only", "install", "java")
    assert "Hash Sum mismatch" in caught.value.stderr


def test_an_index_that_was_changed_in_the_store_is_refused(
    plugin, ansible_module, tmp_path: Path
) -> None:
    index = tmp_path / ("0" * 64) / "Packages"
    index.parent.mkdir()
    index.write_text("Package: other\n")
    packages = plugin("modules", "mammoctl_packages")
    with (
        pytest.raises(AssertionError, match="has been changed on the node"),
        packages.only_source(ansible_module(), str(index)),
    ):
        pass


def test_without_an_index_apt_is_asked_as_it_is(plugin, ansible_module) -> None:
    with plugin("modules", "mammoctl_packages").only_source(ansible_module(), "") as source:
        assert source == []
