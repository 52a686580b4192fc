"""Archives of the store are unpacked whole or not at all, and nothing in them leads elsewhere."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest


def archive(path: Path, **members: object) -> Path:
    """Write a gzipped tar; a value is a file's text, or a TarInfo of another kind."""
    with tarfile.open(path, "w:gz") as tar:
        for name, value in members.items():
            if isinstance(value, tarfile.TarInfo):
                tar.addfile(value)
            else:
                entry = tarfile.TarInfo(name)
                entry.size = len(str(value))
                entry.mode, entry.uid = (0o4711 if "bin/" in name else 0o600), 1234
                tar.addfile(entry, io.BytesIO(str(value).encode()))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.fixture
def unpack(plugin, tmp_path, monkeypatch):
    monkeypatch.setattr("os.chown", lambda *_args, **_rest: None)
    monkeypatch.setattr("os.lchown", lambda *_args, **_rest: None)
    module = plugin("module_utils", "mammoctl_unpack")
    folder = tmp_path / "to"
    folder.mkdir()

    def run(strip: bool = False, **members: object) -> Path:
        module.unpack(str(archive(tmp_path / "a.tar.gz", **members)), str(folder), strip)
        return folder

    run.error = module.BadArchive
    return run


def test_the_one_folder_is_left_out_and_modes_are_plain(unpack) -> None:
    members = {
        "spark-4/bin/spark-class": "#!",
        "spark-4/jars/a.jar": "jar",
        "link": link("spark-4/jars/b.jar", "a.jar"),
        "hard": link("spark-4/jars/c.jar", "spark-4/jars/a.jar", tarfile.LNKTYPE),
    }
    folder = unpack(strip=True, **members)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    assert names == {"bin/spark-class", "jars/a.jar", "jars/b.jar", "jars/c.jar"}
    assert (folder / "jars" / "b.jar").read_text() == (folder / "jars" / "c.jar").read_text()
    assert (folder / "bin" / "spark-class").stat().st_mode & 0o7777 == 0o755
    assert (folder / "jars" / "a.jar").stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize(
    "members",
    [
        {"../outside": "x"},
        {"a/../../outside": "x"},
        {"/etc/outside": "x"},
        {"l": link("a/l", "../../outside")},
        {"l": link("l", "/etc/passwd")},
        {"h": link("h", "../outside", tarfile.LNKTYPE)},
        {"d": link("d", "", tarfile.CHRTYPE)},
    ],
)
def test_what_leads_out_is_refused(unpack, members, tmp_path) -> None:
    with pytest.raises(unpack.error):
        unpack(**members)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar.gz", "to"}
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"other/x": "x"},
        {"spark-45/x": "x"},
        {"x": "beside the one folder"},
        # Inside the archive, but outside of the folder that it becomes.
        {"l": link("spark-4/l", "../x")},
        {"l": link("spark-4/a/l", "../../other")},
        {"h": link("spark-4/h", "other", tarfile.LNKTYPE)},
    ],
    ids=["other", "longer", "file", "link", "deep", "hard"],
)
def test_what_is_not_in_the_one_folder_is_refused(unpack, bad, tmp_path) -> None:
    with pytest.raises(unpack.error, match=r"not below the folder spark-4|leads to"):
        unpack(strip=True, **{"./spark-4/a": "x", **bad})
    assert list((tmp_path / "to").iterdir()) == []


def test_a_link_to_the_folder_itself_is_inside(unpack) -> None:
    folder = unpack(strip=True, **{"s/a/x": "x", "l": link("s/a/up", "..")})
    assert (folder / "a" / "up").resolve() == folder


def test_what_is_no_archive_is_refused(plugin, tmp_path) -> None:
    module = plugin("module_utils", "mammoctl_unpack")
    (tmp_path / "a.tar").write_text("no")
    with pytest.raises(module.BadArchive, match=r"a\.tar cannot be unpacked"):
        module.unpack(str(tmp_path / "a.tar"), str(tmp_path))


@pytest.fixture
def make(plugin, tmp_path, monkeypatch, ansible_module):
    module = plugin("modules", "mammoctl_archive")
    recorded = []
    monkeypatch.setattr(module, "record", lambda kind, names: recorded.append((kind, names)))
    monkeypatch.setattr("os.chown", lambda *_args, **_rest: None)
    root = tmp_path / "root"
    source = archive(tmp_path / "a.tar.gz", **{"x/bin/run": "1"})

    def run(**other: object) -> Path:
        params = {"key": "k", "root": str(root), "archive": str(source), "strip": True, "needs": []}
        module.make(ansible_module(**(params | other)), str(root / "k"))
        return root

    run.recorded = recorded
    return run


def test_a_complete_folder_has_its_marker_and_is_recorded(make) -> None:
    root = make()
    assert (root / "k" / "bin" / "run").read_text() == "1"
    assert (root / "k" / ".complete").exists()
    assert [path.name for path in root.iterdir()] == ["k"]
    assert make.recorded == [("trees", [str(root)])]


def test_what_an_interruption_left_is_made_anew(make, tmp_path) -> None:
    half = tmp_path / "root" / "k" / "old"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    root = make()
    assert not half.exists()
    assert (root / "k" / ".complete").exists()


def test_an_archive_without_what_it_needs_leaves_nothing(make, tmp_path) -> None:
    with pytest.raises(AssertionError, match="has no bin/other"):
        make(needs=["bin/run", "bin/other"])
    assert list((tmp_path / "root").iterdir()) == []
