"""Role python's interpreter: unpacked with care, tried, replaced only when it is complete."""

from __future__ import annotations

import io
import os
import sys
import tarfile

import pytest


@pytest.fixture
def module(plugin):
    return plugin("modules", "mammoctl_interpreter")


@pytest.fixture
def unpack(module):
    """Unpack as the module does."""

    def run(path, folder):
        module.unpack(path, folder, strip=True, top="python")

    return run


def member(name, content=b"", kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, target, len(content), 0o4777
    return info, io.BytesIO(content)


def archive(path, *members):
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, content)
    return str(path)


@pytest.mark.parametrize(
    "bad",
    [
        member("etc/passwd"),
        member("/python/x"),
        member("python/../../x"),
        member("pythonic/x"),
        member("python/link", kind=tarfile.SYMTYPE, target="/etc/passwd"),
        member("python/a/link", kind=tarfile.SYMTYPE, target="../../etc"),
        member("python/hard", kind=tarfile.LNKTYPE, target="etc/passwd"),
        member("python/device", kind=tarfile.CHRTYPE),
        member("python/pipe", kind=tarfile.FIFOTYPE),
    ],
    ids=lambda pair: pair[0].name,
)
def test_what_leads_out_of_the_folder_is_refused(module, unpack, tmp_path, bad):
    path = archive(tmp_path / "a.tar.gz", member("python/good", b"x"), bad)
    folder = tmp_path / "place"
    folder.mkdir()
    with pytest.raises(module.BadArchive):
        unpack(path, str(folder))
    assert list(folder.iterdir()) == []


def test_files_are_plain_and_links_stay_inside(unpack, tmp_path):
    path = archive(
        tmp_path / "a.tar.gz",
        member("python/bin/python3.12", b"x"),
        member("python/bin/python3", kind=tarfile.SYMTYPE, target="python3.12"),
        member("python/lib/copy", kind=tarfile.LNKTYPE, target="python/bin/python3.12"),
    )
    folder = tmp_path / "place"
    folder.mkdir()
    unpack(path, str(folder))
    assert (folder / "bin/python3").resolve() == (folder / "bin/python3.12")
    assert (folder / "bin/python3.12").stat().st_mode & 0o7777 == 0o755
    assert (folder / "lib/copy").read_bytes() == b"x"


def test_a_truncated_archive_is_told(module, unpack, tmp_path):
    path = tmp_path / "a.tar.gz"
    archive(path, member("python/x", os.urandom(5000)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(module.BadArchive, match="cannot be unpacked"):
        unpack(str(path), str(tmp_path))


def test_the_trial_runs_what_an_environment_needs(module, ansible_module):
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert module.trial(ansible_module(), sys.executable, here) == ""
    assert "instead of 2.7" in module.trial(ansible_module(), sys.executable, "2.7")
    assert "does not run here" in module.trial(ansible_module(), "/bin/false", here)


def built(tmp_path, script):
    return archive(tmp_path / "a.tar.gz", member("python/bin/python3.12", script.encode()))


def test_one_that_does_not_run_leaves_nothing(module, ansible_module, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "record", lambda *_: None)
    path = built(tmp_path, "#!/bin/sh\necho GLIBC_2.38 not found >&2\nexit 1\n")
    wanted = ansible_module(root=str(tmp_path / "r"), archive=path, python="3.12", key="k")
    with pytest.raises(AssertionError, match=r"GLIBC_2.38 not found.*oldest of the systems"):
        module.make(wanted, str(tmp_path / "r" / "k"))
    assert list((tmp_path / "r").iterdir()) == []


def test_one_that_runs_is_put_in_the_place_of_a_broken_one(
    module, ansible_module, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "record", lambda *_: None)
    path = built(tmp_path, "#!/bin/sh\necho 3.12\n")
    place = tmp_path / "r" / "k"
    (place / "left").mkdir(parents=True)
    module.make(
        ansible_module(root=str(tmp_path / "r"), archive=path, python="3.12", key="k"), str(place)
    )
    assert (place / ".complete").is_file()
    assert not (place / "left").exists()
    assert list((tmp_path / "r").iterdir()) == [place]
