from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from mammoctl.errors import LabError
from mammoctl.lab import cgroups, image, node, system
from mammoctl.lab.plan import Request, plan


def test_without_root_the_command_with_sudo_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["/opt/my venv/mammoctl", "lab", "up", "--nodes", "2"])
    with pytest.raises(LabError, match="needs root") as caught:
        system.require_root("mammoctl lab up")
    assert caught.value.hint == "sudo '/opt/my venv/mammoctl' lab up --nodes 2"


def test_missing_programs_come_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = {"systemd-nspawn", "mmdebstrap"}
    monkeypatch.setattr(shutil, "which", lambda name: None if name in gone else f"/usr/bin/{name}")
    with pytest.raises(LabError, match="systemd-nspawn, mmdebstrap") as caught:
        system.require_system()
    assert caught.value.hint == "apt-get install mmdebstrap systemd-container"


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(LabError, match="needs Linux") as caught:
        system.require_system()
    assert "vagrant up" in caught.value.hint


def test_a_full_disk_is_refused_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 2**30))
    with pytest.raises(LabError, match=r"needs 9\.0 GiB .* there are 1\.0"):
        system.require_disk(tmp_path / "not" / "yet", 9, "the lab")
    system.require_disk(tmp_path, 0.5, "the lab")


def test_a_failed_program_shows_its_own_words() -> None:
    with pytest.raises(LabError, match="exit code 3") as caught:
        system.run(["sh", "-c", "echo the cause >&2; exit 3"])
    assert caught.value.details == ["the cause"]


def test_an_images_name_follows_its_recipe() -> None:
    debian12, debian13 = image.find("debian12"), image.find("debian13")
    assert image.key(debian12, "").startswith("debian12-")
    assert image.key(debian12, "") == image.key(debian12, "")
    assert len({image.key(debian12, ""), image.key(debian13, ""), image.key(debian12, "m")}) == 3


def test_images_are_built_from_the_default_mirror_unless_told_otherwise() -> None:
    argv = image.build_argv(image.find("debian13"), Path("/cache/x"), "")
    assert argv[-2:] == ["trixie", "/cache/x"]
    ubuntu = image.build_argv(image.find("ubuntu24.04"), Path("/cache/x"), "http://mirror")
    assert ubuntu[-3:] == ["noble", "/cache/x", "http://mirror"]
    assert "--components=main,universe" in ubuntu


def test_a_node_boots_in_its_own_namespace_and_may_load_packet_filters() -> None:
    lab = plan(Request("lab"))
    argv = node.argv(lab, lab.nodes[0])
    for word in (
        "--boot",
        "--register=no",
        "--keep-unit",
        "--resolv-conf=off",
        "--capability=CAP_NET_ADMIN",
        "--hostname=lab1",
        f"--network-namespace-path={lab.dir}/nodes/lab1/netns",
    ):
        assert word in argv


def test_a_node_may_make_interfaces_where_the_kernel_can(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab = plan(Request("lab"))
    monkeypatch.setattr(node, "_TUN", tmp_path)
    assert f"--bind={tmp_path}" in node.argv(lab, lab.nodes[0])
    monkeypatch.setattr(node, "_TUN", tmp_path / "none")
    assert not any("none" in word for word in node.argv(lab, lab.nodes[0]))


def _files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_limits_in_a_unified_hierarchy(tmp_path: Path) -> None:
    group = cgroups.Group((tmp_path / "root" / "lab" / "lab1",), unified=True)
    group.create(512, 0.6, [0, 1])
    files = _files(tmp_path / "root" / "lab" / "lab1")
    assert files == {
        "memory.max": str(512 << 20),
        "memory.swap.max": "0",
        "cpu.max": "60000 100000",
        "cpuset.cpus": "0,1",
    }
    assert "cgroup.subtree_control" in _files(tmp_path / "root")


def test_under_systemd_the_group_is_inside_a_delegated_scope(tmp_path: Path) -> None:
    folder = tmp_path / "system.slice" / "lab.scope" / "node"
    group = cgroups.Group((folder,), unified=True, scope="lab.scope")
    assert group.tops == (folder.parent,)
    assert group.launcher()[:3] == ["systemd-run", "--scope", "--quiet"]
    assert "--property=Delegate=yes" in group.launcher()
    folder.parent.mkdir(parents=True)
    group.create(512, 1, [0])
    assert "cgroup.subtree_control" in _files(folder.parent)
    assert _files(folder.parent.parent) == {}  # systemd's own


def test_limits_in_separate_hierarchies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    for name in ("memory", "cpu,cpuacct", "cpuset", "unified"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    for name in ("cpuset.mems", "cpuset.cpus"):
        (tmp_path / "cpuset" / name).write_text("0\n")
    group = cgroups.group("lab", "lab1")
    assert len(group.folders) == 4
    group.create(512, 0.6, [0])
    assert (tmp_path / "cpu,cpuacct/lab/lab1/cpu.cfs_quota_us").read_text() == "60000"
    assert (tmp_path / "memory/lab/lab1/memory.limit_in_bytes").read_text() == str(512 << 20)
    assert (tmp_path / "memory/lab/lab1/memory.memsw.limit_in_bytes").read_text() == str(512 << 20)
    assert (tmp_path / "cpuset/lab/cpuset.mems").read_text() == "0"


def test_a_machine_that_cannot_limit_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpu cpuset io\n")
    with pytest.raises(LabError, match="lack memory"):
        cgroups.group("lab", "lab1")


@pytest.fixture
def no_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of keys in the cache, on a machine that has none of Ubuntu's."""
    monkeypatch.setenv("MAMMOCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MAMMOCTL_LAB_DIR", str(tmp_path / "lab"))
    monkeypatch.setattr(image, "_KEYRINGS", Path("/usr/share/none-here"))
    return tmp_path / "cache" / "keyrings"


def test_ubuntus_keys_come_once_from_debians_package_of_them(
    no_keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def mmdebstrap(argv: list[str]) -> str:
        asked.append([str(word) for word in argv])
        there = Path(argv[-1]) / "usr/share/none-here/ubuntu-archive-keyring.gpg"
        there.parent.mkdir(parents=True)
        there.write_bytes(b"keys")
        return ""

    monkeypatch.setattr(image, "run", mmdebstrap)
    for release in ("ubuntu24.04", "ubuntu22.04"):
        found = image._keyring(image.find(release))
        assert found == no_keyring / "ubuntu-archive-keyring.gpg"
        assert found.read_bytes() == b"keys"
    assert len(asked) == 1
    assert "--include=ubuntu-archive-keyring" in asked[0]
    assert image._keyring(image.find("debian13")) is None


def test_without_debians_package_the_cause_and_the_mend_are_told(
    no_keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(_argv: list[str]) -> str:
        raise LabError("`mmdebstrap` failed with exit code 25", details=["no route"])

    monkeypatch.setattr(image, "run", offline)
    with pytest.raises(LabError, match="cannot be checked") as caught:
        image._keyring(image.find("ubuntu24.04"))
    assert caught.value.details == ["`mmdebstrap` failed with exit code 25", "no route"]
    assert str(no_keyring) in caught.value.hint
