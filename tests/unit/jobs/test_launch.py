"""How a job's files come to the master: whole, or not at all."""

from __future__ import annotations

import getpass
import io
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl.errors import JobError
from mammoctl.jobs import launch
from mammoctl.ssh import Result

RUNUSER = """#!/bin/sh
shift 3
exec "$@"
"""


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a master that is this machine, where everybody may do what this user may."""
    runuser = tmp_path / "bin" / "runuser"
    runuser.parent.mkdir()
    runuser.write_text(RUNUSER)
    runuser.chmod(0o755)
    monkeypatch.setenv("PATH", str(runuser.parent), prepend=":")
    monkeypatch.setattr(launch, "JOBS_ROOT", str(tmp_path / "jobs"))

    def run(host: Any, line: str, *, sudo: bool, input: bytes, check: bool) -> Result:
        assert sudo
        assert not check
        done = subprocess.run(["sh", "-c", line], input=input, capture_output=True, check=False)
        return Result(host.name, line, done.stdout.decode(), done.stderr.decode(), done.returncode)

    return SimpleNamespace(
        run=run, cluster=SimpleNamespace(master=SimpleNamespace(name="n1")), jobs=tmp_path / "jobs"
    )


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("spec.json", "state.json"):
            info = tarfile.TarInfo(name)
            info.size = 70_000
            tar.addfile(info, io.BytesIO(bytes(range(7)) * 10_000))
    return buffer.getvalue()


def test_a_job_that_did_not_arrive_whole_leaves_no_folder(master: Any) -> None:
    group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
    user = getpass.getuser()
    assert user == group, "the job's account has a group of its own name"
    folder = master.jobs / "script-1"
    job = SimpleNamespace(folder=str(folder), user=user)
    with pytest.raises(JobError, match="cannot be brought to n1"):
        launch._unpack(master, job, archive()[:200], new=True)  # type: ignore[arg-type]
    assert list(master.jobs.iterdir()) == []
    launch._unpack(master, job, archive(), new=True)  # type: ignore[arg-type]
    assert sorted(path.name for path in folder.iterdir()) == ["spec.json", "state.json"]
    # What a job has done so far outlives a resumption that does not come through.
    with pytest.raises(JobError):
        launch._unpack(master, job, archive()[:200])  # type: ignore[arg-type]
    assert (folder / "spec.json").is_file()


def test_a_full_disk_is_told(master: Any) -> None:
    said = Result("n1", "", "", "tar: spec.json: Cannot write: No space left on device", 2)
    full = SimpleNamespace(run=lambda *_args, **_options: said, cluster=master.cluster)
    job = SimpleNamespace(folder="/nowhere", user="spark")
    with pytest.raises(JobError, match="its disk is full") as caught:
        launch._unpack(full, job, b"", new=True)  # type: ignore[arg-type]
    assert "jobs prune" in str(caught.value.hint)
