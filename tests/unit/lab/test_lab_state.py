from __future__ import annotations

import json
from pathlib import Path

import pytest

from mammoctl.errors import LabError, UsageError
from mammoctl.lab import snapshots, sysctl
from mammoctl.lab import state as states
from mammoctl.lab.plan import Request, differences, plan


@pytest.fixture(autouse=True)
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mammoctl" / "labs"
    monkeypatch.setenv("MAMMOCTL_LAB_DIR", str(folder))
    monkeypatch.setattr(states, "LOCKS", tmp_path)
    return folder


def test_a_lab_comes_back_as_it_was_saved() -> None:
    lab = plan(Request("lab", image="debian12,debian13", nodes=2, cpus="1"))
    lab.snapshots["bare"] = {"lab1": [1], "lab2": [1]}
    lab.save()
    assert states.load("lab") == lab
    assert states.load("other") is None


def test_a_later_versions_fields_are_passed_over(labs: Path) -> None:
    plan(Request("lab")).save()
    path = labs / "lab" / "lab.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "colour": "blue"}))
    assert states.load("lab") is not None


@pytest.mark.parametrize("text", ["", "{", '{"schema": 99, "nodes": []}', "[]"])
def test_a_damaged_record_is_an_error_and_not_a_traceback(labs: Path, text: str) -> None:
    (labs / "lab").mkdir(parents=True)
    (labs / "lab" / "lab.json").write_text(text)
    with pytest.raises(LabError, match="cannot be understood"):
        states.load("lab")


def test_a_missing_lab_names_those_that_are_there() -> None:
    plan(Request("mine")).save()
    with pytest.raises(LabError, match="labs here: mine") as caught:
        states.require("yours")
    assert caught.value.hint == "mammoctl lab up --name yours"


@pytest.mark.parametrize("name", ["", "Lab", "1lab", "lab_1", "-lab", "lab-", "../x", "x" * 25])
def test_names_that_cannot_be_host_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        states.check_name(name)


def test_an_unknown_node_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        plan(Request("lab", nodes=2)).node("lab3")
    assert caught.value.hint == "its nodes: lab1, lab2"


def test_removing_leaves_no_folder(labs: Path) -> None:
    lab = plan(Request("lab"))
    lab.save()
    (lab.dir / "nodes" / "lab1" / "l" / "1").mkdir(parents=True)
    (lab.dir / "id_ed25519").touch()
    states.remove(lab)
    assert not labs.parent.exists()


def test_a_lock_refuses_a_second_holder_and_leaves_no_file(tmp_path: Path) -> None:
    with states.lock("x", wait=False):
        with pytest.raises(LabError, match="busy"), states.lock("x", wait=False, busy="busy"):
            pass
        with states.lock("y", wait=False):
            pass
    with states.lock("x", wait=False):
        pass
    assert list(tmp_path.glob("*.lock")) == []


def test_options_not_given_are_those_of_the_lab_there() -> None:
    there = plan(Request("lab", nodes=2, memory="1g,2g", cpus="1", subnet="10.9.8.0/24"))
    assert differences(Request("lab"), there) == []
    assert differences(Request("lab", memory="1g,2048m"), there) == []
    assert differences(Request("lab", nodes=3), there) == ["--nodes 3 (it has 2)"]
    found = differences(Request("lab", memory="1g", image="debian13,debian12"), there)
    assert found == [
        "--image of lab1 debian13 (it has debian12)",
        "--memory of lab2, MiB: 1024 (it has 2048)",
    ]


def test_an_unknown_image_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        plan(Request("lab", image="debian11"))
    assert "debian12" in caught.value.hint and "ubuntu26.04" in caught.value.hint


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 65])
def test_snapshot_names_are_checked(name: str) -> None:
    with pytest.raises(UsageError):
        snapshots.check_snapshot_name(name)


def test_forwarding_goes_back_to_what_it_was_with_the_last_lab(
    tmp_path: Path, labs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labs.mkdir(parents=True)
    forward = tmp_path / "ip_forward"
    forward.write_text("0\n")
    monkeypatch.setattr(sysctl, "FORWARD", forward)
    sysctl.acquire("one")
    sysctl.acquire("two")
    sysctl.acquire("one")  # repeated after an interruption
    sysctl.release("one")
    assert forward.read_text() == "1\n"
    sysctl.release("two")
    assert forward.read_text() == "0\n"
    sysctl.release("two")
    assert list(labs.iterdir()) == []


def test_forwarding_that_was_on_stays_on(
    tmp_path: Path, labs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labs.mkdir(parents=True)
    forward = tmp_path / "ip_forward"
    forward.write_text("1\n")
    monkeypatch.setattr(sysctl, "FORWARD", forward)
    sysctl.acquire("one")
    sysctl.release("one")
    assert forward.read_text() == "1\n"


def test_a_record_from_before_a_restart_of_the_machine_counts_for_nothing(
    tmp_path: Path, labs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labs.mkdir(parents=True)
    (labs / "ip_forward.json").write_text('{"boot": "old", "before": "0", "labs": ["gone"]}')
    forward = tmp_path / "ip_forward"
    forward.write_text("1\n")
    monkeypatch.setattr(sysctl, "FORWARD", forward)
    sysctl.acquire("one")
    sysctl.release("one")
    assert forward.read_text() == "1\n"


def test_a_lab_stays_closed_or_open() -> None:
    closed = plan(Request("lab", closed=True))
    assert closed.closed
    assert differences(Request("lab"), closed) == []
    assert differences(Request("lab", closed=False), closed) == ["--closed False (it has True)"]
