"""What a node had a duty for and has none any more is stopped; HDFS keeps its names."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from playing import Played, play
from rendering import ROOT

NAME, DATA = "hdfs-namenode", "hdfs-datanode"
MARKER = "/var/lib/mammoctl/hdfs-formatted"
IMAGE = "/var/lib/hdfs/name/current/fsimage_*.md5"
COMMAND = "/opt/mammoctl/bin/hdfs"


def unit(name: str) -> str:
    return f"/etc/systemd/system/{name}.service"


CASES = {
    # host: (storage, what lies there)
    "master": ("hdfs", [MARKER, IMAGE, COMMAND, *map(unit, (NAME, DATA, "spark-history"))]),
    "worker": ("hdfs", [COMMAND, *map(unit, (DATA, "spark-worker"))]),
    "once-master": ("hdfs", [MARKER, *map(unit, (NAME, "spark-master", "spark-history"))]),
    "neither": ("hdfs", [COMMAND, *map(unit, (DATA, "spark-worker"))]),
    "shared": ("shared", [COMMAND, *map(unit, (DATA, "spark-worker"))]),
    "never": ("shared", []),
}
ALL = (NAME, DATA, "spark-master", "spark-worker", "spark-history")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """What Ansible makes of the roles' variables."""
    paths = [MARKER, IMAGE, COMMAND, *map(unit, ALL)]
    described = {
        name: {
            "users": {"hdfs": None},
            "groups": [],
            "paths": {p: p in there or None for p in paths},
        }
        for name, (_storage, there) in CASES.items()
    }
    return play(
        tmp_path_factory.mktemp("plays"),
        {name: {"mammoctl_storage": storage} for name, (storage, _there) in CASES.items()},
        [
            {"set_fact": {"mammoctl": "{{ described[inventory_hostname] }}", "cacheable": True}},
            {"import_role": {"name": "hdfs", "tasks_from": "preflight"}},
            # Their variables come along; nothing is done.
            {"import_tasks": str(ROOT / "playbooks/tasks/remove.yml"), "when": False},
        ],
        groups={
            "spark_master": ["master"],
            "spark_workers": ["worker", "once-master", "shared", "never"],
        },
        wanted={"spark": "_spark_left", "hdfs": "_hdfs_left", "over": "_hdfs_over"},
        described=described,
        mammoctl_shared_path="/mnt/ward",
        spark_history=True,
    )


@pytest.fixture(scope="module")
def found(played: Played) -> dict[str, dict[str, Any]]:
    """Return host -> what was found there."""
    return played.found


@pytest.mark.programs
@pytest.mark.parametrize(
    ("name", "spark", "hdfs", "over"),
    [
        ("master", [], [DATA], False),
        ("worker", [], [], False),
        ("once-master", ["spark-master", "spark-history"], [NAME], False),
        ("neither", ["spark-worker"], [DATA], False),
        ("shared", [], [DATA], True),
        ("never", [], [], False),
    ],
)
def test_what_runs_here_without_a_duty_is_known(found, name, spark, hdfs, over):
    assert found[name]["spark"] == spark
    assert found[name]["hdfs"] == hdfs
    assert found[name]["over"] is over


@pytest.mark.programs
def test_another_master_never_begins_with_an_empty_hdfs(found):
    assert [name for name in CASES if found[name]["problems"]] == ["once-master"]
    (line,) = found["once-master"]["problems"]
    assert "master is spark_master now" in line
    assert "Make once-master spark_master again" in line
    assert MARKER in line


@pytest.mark.programs
def test_hdfs_that_goes_is_told_with_where_its_data_stays(played):
    said = played.said
    assert "shared: HDFS is declared no more" in said
    assert "never: HDFS" not in said
    assert "/var/lib/hdfs/name and /var/lib/hdfs/data" in said


def test_services_go_before_the_guard_forgets_their_ports():
    plays = yaml.safe_load((ROOT / "playbooks/provision.yml").read_text())
    removing = [
        number for number, play in enumerate(plays) if "remove.yml" in str(play.get("tasks"))
    ]
    assert removing == [1]
    assert "guard" in plays[1]["tags"]
    assert "guard" in str(plays[2]["roles"])
    upgrade = (ROOT / "playbooks/upgrade.yml").read_text()
    assert upgrade.index("tasks/remove.yml") < upgrade.index("name: guard}")
    tasks = (ROOT / "playbooks/tasks/remove.yml").read_text()
    assert tasks.index("name: spark") < tasks.index("name: hdfs"), "who uses a service goes first"


@pytest.mark.parametrize("role", ["spark", "hdfs"])
def test_they_are_stopped_for_good_before_their_files_go(role):
    stop, remove = yaml.safe_load((ROOT / f"roles/{role}/tasks/remove.yml").read_text())
    assert stop["mammoctl_service"]["state"] == "disabled"
    assert f"_{role}_left" in stop["mammoctl_service"]["units"]
    assert "mammoctl_no_unit" in str(remove["mammoctl_files"]["items"])


def test_items_and_units(plugin):
    rules = plugin("filter", "mammoctl_unit")
    paths = {unit(NAME): {"link": ""}, unit(DATA): None}
    assert rules.left([NAME, DATA, "spark-master"], [], paths) == [NAME]
    assert rules.left([NAME], [NAME], paths) == []
    assert rules.no_unit(NAME) == {"path": unit(NAME), "state": "absent"}
    assert rules.no_file("config", "/home/x/") == {"path": "/home/x/config", "state": "absent"}


def test_nobody_is_let_in_where_no_worker_is():
    (task,) = [
        task
        for task in yaml.safe_load((ROOT / "roles/ssh/tasks/configure.yml").read_text())
        if "mammoctl_files" in task
    ]
    gone = [item for item in task["mammoctl_files"]["items"] if isinstance(item, str)]
    assert any("authorized_keys" in item and "not mammoctl_is_worker" in item for item in gone)
    assert any("id_ed25519" in item and "not mammoctl_is_master" in item for item in gone)
