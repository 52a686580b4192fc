"""The file that a backup is: private, whole or not there, and checked before it is believed."""

from __future__ import annotations

import io
import json
import stat
import tarfile

import pytest

from mammoctl.backup import archive
from mammoctl.backup.archive import Archive, Damaged
from mammoctl.errors import UsageError


@pytest.fixture
def saved(tmp_path):
    target = tmp_path / "ward.backup"
    own = tmp_path / "hosts.yml"
    own.write_text("all:\n")
    with archive.draft(target) as parts:
        parts.add("inventory/hosts.yml", own)
        parts.add("jobs.tar", b"x" * 100_000)
        parts.write(target, "backup", {"cluster": "ward"})
    own.unlink()
    return target


def test_what_was_saved_is_read_again(saved):
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert [p.name for p in saved.parent.iterdir()] == ["ward.backup"]  # nothing beside it
    with Archive(saved, "backup") as found:
        assert found.manifest["cluster"] == "ward"
        assert "secrets" in found.manifest["about"]
        assert found.names == ["inventory/hosts.yml", "jobs.tar"]
        assert found.read("inventory/hosts.yml") == b"all:\n"
        with found.stream("jobs.tar") as stream:
            assert stream.read() == b"x" * 100_000
    with tarfile.open(saved) as tar:
        assert tar.getnames()[0] == archive.MANIFEST


def test_nothing_is_left_of_one_that_was_cut_off(tmp_path):
    target = tmp_path / "ward.backup"
    with pytest.raises(KeyboardInterrupt), archive.draft(target) as parts:
        parts.file().write_bytes(b"secret")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_written_over(saved):
    with pytest.raises(UsageError, match="is there already"), archive.draft(saved):
        pytest.fail("it would be")
    with pytest.raises(UsageError, match="no folder"), archive.draft(saved / "a" / "b"):
        pytest.fail("nowhere")


@pytest.mark.parametrize("where", [0.3, 0.6, 0.95])
def test_a_byte_that_changed_is_noticed(saved, where):
    data = bytearray(saved.read_bytes())
    # in the middle of the large part, wherever it lies
    at = data.index(b"x" * 50_000) + int(50_000 * where)
    data[at] ^= 1
    saved.write_bytes(data)
    with pytest.raises(Damaged, match=r"missing or altered: jobs\.tar"):
        Archive(saved, "backup")


@pytest.mark.parametrize("length", [60_000, 3000])
def test_one_that_ends_early_is_noticed(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(Damaged):
        Archive(saved, "backup")


def tar_of(path, **members):
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name.replace("_json", ".json"))
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))


def test_what_is_none(tmp_path, saved):
    path = tmp_path / "other"
    with pytest.raises(UsageError, match="no file"):
        Archive(path, "backup")
    path.write_text("text")
    with pytest.raises(UsageError, match="is not a backup of a cluster"):
        Archive(path, "backup")
    tar_of(path, other=b"{}")
    with pytest.raises(UsageError, match="is not a backup of a cluster"):
        Archive(path, "backup")
    tar_of(path, manifest_json=b"[1]")
    with pytest.raises(UsageError, match="is not a backup of a cluster"):
        Archive(path, "backup")
    with pytest.raises(UsageError, match=r"is a backup of a cluster .*, not an access"):
        Archive(saved, "access")
    newer = {"schema": 2, "kind": "backup", "parts": {}, "mammoctl": "9.0"}
    tar_of(path, manifest_json=json.dumps(newer).encode())
    with pytest.raises(UsageError, match=r"made by mammoctl 9\.0, in a newer format"):
        Archive(path, "backup")
