"""docs/json.md names every field that programs may meet."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from mammoctl import paths
from mammoctl.jobs.job import Job
from mammoctl.jobs.kinds import ExploreJob, PredictJob
from mammoctl.jobs.remote import records, tell
from mammoctl.jobs.results import Results
from mammoctl.jobs.script import ScriptJob
from mammoctl.jobs.spec import JobSpec
from mammoctl.jobs.watch import Outcome

RUNNING = {"id": "j", "state": "running", "boot_id": "b", "submitted_at": 1.0, "kind": "train"}
KINDS = (Job, JobSpec, ScriptJob, PredictJob, ExploreJob)
# of our own housekeeping: programs have no use for them
PRIVATE = {"boot_id", "resumed_at"}


@pytest.fixture(scope="module")
def words() -> set[str]:
    text = (paths.project_root() / "docs" / "json.md").read_text()
    # in code: between backquotes, or indented
    code = [*re.findall(r"`([^`]+)`", text), *re.findall(r"^ {4}(.*)$", text, re.MULTILINE)]
    return {word for piece in code for word in re.findall(r"[a-z_0-9]+", piece)}


def test_every_field_of_a_job_s_specification(words: set[str]) -> None:
    names = {one.name for kind in KINDS for one in fields(kind)}
    assert names - words == set()


def test_every_field_of_a_job_s_record(words: set[str]) -> None:
    begun = records.started(records.queued(RUNNING, 1.0, "why"), 2.0)
    over = records.finished(begun, {}, 3.0, None, False)
    again = records.reopened({**over, "notified": []}, 4.0)
    names = {*over, *again, "notified"} - PRIVATE
    assert names - words == set()
    assert {*records.ALIVE, *records.ENDED} - words == set()


def test_every_field_of_an_outcome_and_of_what_is_told(words: set[str]) -> None:
    results = Results("script", Path("r"), {"a": (1, "0")})
    document = Outcome("j", {"id": "j", "state": "failed"}, results).document()
    assert document.keys() - words == set()
    assert document["files"]["a"].keys() - words == set()
    assert tell.message({"id": "j", "state": "failed"}, "ward").keys() - words == set()
