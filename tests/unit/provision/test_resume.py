"""How far a provision came, and where it goes on."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest

from mammoctl import resume
from mammoctl.ansible import events
from mammoctl.errors import UsageError
from mammoctl.inventory import Cluster, Host
from mammoctl.provision import Request

ROLES = [
    *("common", "java", "ssh", "guard", "wireguard", "lockdown"),
    *("python", "cuda", "hdfs", "spark", "scala"),
    "sbt",
]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path / "log"))
    host = Host("n1", "10.0.0.1", vars={"spark_user": "spark", "secret": "s3cret"})
    return Cluster("ward", tmp_path, tmp_path / "hosts.yml", {"n1": host}, host, [host])


def ran(*roles: str) -> events.Run:
    """Return a run that is in the last of these roles."""
    run = events.Run()
    run.add(events.Event("play_start", 1.0, data={"play": "Provision", "roles": True}))
    for number, role in enumerate(roles):
        data = {"name": "x", "role": role}
        run.add(events.Event("task_start", 2.0 + number, task=str(number), data=data))
    return run


def test_what_is_finished_is_passed_over(cluster):
    progress = resume.Progress(cluster, resume.Record("ward", "f"))
    for upto in (["common"], ["common", "java"], ["common", "java", "ssh", "guard"]):
        progress(ran(*upto))
    record = resume.read(cluster)
    assert record.role == "guard"
    assert record.finished == ["common", "java", "ssh"]
    assert resume.left(record, "f") == ROLES[3:]


def test_tasks_before_the_roles_finish_nothing(cluster):
    progress = resume.Progress(cluster, resume.Record("ward", "f"))
    run = events.Run()
    run.add(events.Event("play_start", 1.0, data={"play": "Check every host", "roles": False}))
    # the checks borrow files of roles; that is not the role
    data = {"name": "x", "role": "spark"}
    run.add(events.Event("task_start", 2.0, task="1", data=data))
    progress(run)
    assert resume.read(cluster).finished == []


def test_a_resumed_run_that_fails_again_keeps_what_was_finished(cluster):
    resume.Progress(cluster, resume.Record("ward", "f"), ["common", "java"])
    assert resume.read(cluster).finished == ["common", "java"]


def test_after_a_good_end_there_is_nothing_to_resume(cluster):
    progress = resume.Progress(cluster, resume.Record("ward", "f"))
    progress.ended_well()
    with pytest.raises(UsageError, match="nothing to resume"):
        resume.read(cluster)


def test_the_record_is_nobody_elses(cluster, tmp_path):
    resume.Progress(cluster, resume.Record("ward", "f", ["password=x"]))
    (path,) = (tmp_path / "log").glob("unfinished-ward-*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = replace(cluster, source=tmp_path / "other.yml")
    with pytest.raises(UsageError):
        resume.read(other)


def test_a_damaged_record_means_everything(cluster, tmp_path):
    resume.Progress(cluster, resume.Record("ward", "f"))
    (path,) = (tmp_path / "log").glob("unfinished-ward-*.json")
    path.write_text('{"cluster": ')
    assert resume.left(resume.read(cluster), "f") == ROLES
    path.write_text(json.dumps({"of": "another version"}))
    assert resume.left(resume.read(cluster), "f") == ROLES


def test_whatever_changes_the_outcome_changes_the_fingerprint(cluster, tmp_path, monkeypatch):
    values = tmp_path / "values.yml"
    values.write_text("a: 1")
    request = Request([f"@{values}"])
    first = resume.fingerprint(cluster, request, "b" * 16)
    assert first == resume.fingerprint(cluster, request, "b" * 16)
    assert "s3cret" not in first
    host = replace(cluster.master, vars={"spark_user": "other"})
    others = [
        resume.fingerprint(replace(cluster, hosts={"n1": host}), request, "b" * 16),
        resume.fingerprint(cluster, request, "c" * 16),
        resume.fingerprint(cluster, Request([f"@{values}", "x=1"]), "b" * 16),
        resume.fingerprint(cluster, Request([f"@{values}"], limit=["n1"]), "b" * 16),
    ]
    values.write_text("a: 2")
    others.append(resume.fingerprint(cluster, request, "b" * 16))
    monkeypatch.setattr(resume, "_newest", lambda _: 1)
    others.append(resume.fingerprint(cluster, request, "b" * 16))
    assert len({first, *others}) == 7
    assert resume.left(resume.Record("ward", first, finished=["common"]), others[0]) == ROLES
