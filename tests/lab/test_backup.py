"""What a cluster cannot make again is lost and comes back; the data is read by its checksums."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest

from .command import Cli
from .own_lab import OwnLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HDFS = "/opt/mammoctl/bin/hdfs"
NAMES = "/var/lib/hdfs/name"
JOBS = "/var/lib/mammoctl/jobs"
PROGRAM = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("the sum is", spark.sparkContext.parallelize(range(100), 2).sum())
"""


@pytest.fixture(scope="module")
def lab(own_cluster: OwnLab, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> OwnLab:
    """A provisioned lab with a data set, a job and a file of its own in HDFS."""
    program = tmp_path_factory.mktemp("program") / "sum.py"
    program.write_text(PROGRAM)
    push = ("data", "push", str(synthetic), "--name", "kept")
    own_cluster.cli(*push, "-i", own_cluster.name, timeout=600)
    own_cluster.run("submit", str(program))
    own_cluster.on(
        own_cluster.nodes[0],
        "head -c 20000000 /dev/urandom > /tmp/data && sha256sum < /tmp/data > /tmp/sum &&"
        f" {HDFS} dfs -put /tmp/data /mammoctl/own",
    )
    return own_cluster


@pytest.fixture(scope="module")
def saved(lab: OwnLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("safe") / "cluster.backup"
    done = lab.run("backup", "--output", str(target), "--json").json()
    assert done["manifest"]["data-ids"] == ["kept"]
    assert len(done["manifest"]["jobs"]) == 1
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        assert {"name-table.tar", "jobs.tar", "data-ids.tar"} <= set(tar.getnames())
    return target


def data_is_there(lab: OwnLab) -> None:
    """Files are read whole, with the sums that they had; HDFS misses nothing."""
    lab.on(lab.nodes[0], f"{HDFS} dfs -cat /mammoctl/own | sha256sum | cmp - /tmp/sum")
    said = lab.on(lab.nodes[0], f"{HDFS} fsck /mammoctl", rc=None)
    assert "is HEALTHY" in said, said
    verdict = lab.cli("data", "verify", "kept", "-i", lab.name, "--json").json()
    assert verdict["ok"], verdict
    state = lab.run("status", "--json").json()
    assert state["ok"], state["findings"]


def test_work_goes_on_while_a_backup_is_made(lab: OwnLab, saved: Path) -> None:
    """The NameNode does not go into safe mode: what is being written meanwhile is written."""
    line = f"for i in $(seq 15); do echo $i | {HDFS} dfs -put -f - /mammoctl/during || exit 1; done"
    unit = "systemd-run --unit=writing --property=Type=exec sh -c"
    lab.on(lab.nodes[0], f"{unit} '{line}'")
    again = saved.with_name("again.backup")
    lab.run("backup", "--output", str(again))
    lab.on(lab.nodes[0], "while systemctl is-active -q writing; do sleep 1; done")
    assert lab.on(lab.nodes[0], "systemctl is-failed writing", rc=None) != "failed"
    assert lab.on(lab.nodes[0], f"{HDFS} dfs -cat /mammoctl/during") == "15"
    lab.run("restore", str(saved), "--yes")  # nothing is missing
    assert lab.on(lab.nodes[0], f"{HDFS} dfs -cat /mammoctl/during") == "15"
    lab.on(lab.nodes[0], f"{HDFS} dfs -rm -skipTrash /mammoctl/during")


def test_the_name_table_is_lost_and_comes_back(lab: OwnLab, saved: Path) -> None:
    """What was written after the backup has no name in it, and goes only when told."""
    master = lab.nodes[0]
    lab.on(master, f"echo later | {HDFS} dfs -put - /mammoctl/later")
    lab.on(master, f"systemctl kill -s KILL hdfs-namenode; rm -rf {NAMES}/*")
    refused = lab.run("provision", rc=1)
    assert "HDFS was formatted here before" in refused.stderr
    newer = lab.run("restore", str(saved), "--yes", rc=1)
    assert "written after the backup" in newer.stderr
    lab.on(master, f"{HDFS} dfs -cat /mammoctl/own | sha256sum | cmp - /tmp/sum")
    done = lab.run(
        "restore", str(saved), "--only", "name-table", "--discard-newer", "--yes", "--json"
    ).json()
    assert done["name-table"]["missing_blocks"] == 0
    assert done["name-table"]["discarded_bytes"] >= len("later\n")
    assert "jobs" not in done
    data_is_there(lab)
    assert lab.run("provision", "--json").json()["changed"] == []
    verdict = lab.run("verify", "--json", rc=None).json()
    assert verdict["ok"], [check for check in verdict["checks"] if check["outcome"] != "passed"]


def test_one_that_is_there_is_replaced_only_when_told(lab: OwnLab, saved: Path) -> None:
    master = lab.nodes[0]
    lab.on(master, f"echo later | {HDFS} dfs -put - /mammoctl/later")
    told = lab.run("restore", str(saved), "--only", "name-table", "--yes", "--json").json()
    assert "--force replaces it" in told["notes"][0]
    assert lab.on(master, f"{HDFS} dfs -cat /mammoctl/later") == "later"
    done = lab.run(
        *("restore", str(saved), "--only", "name-table", "--force", "--discard-newer"),
        *("--yes", "--json"),
    ).json()
    aside = done["name-table"]["aside"]
    assert lab.on(master, f"test -d {aside} && echo there") == "there"
    lab.on(master, f"{HDFS} dfs -test -e /mammoctl/later && exit 1 || exit 0")
    data_is_there(lab)


def test_jobs_and_maps_of_ids_come_back(lab: OwnLab, saved: Path) -> None:
    master = lab.nodes[0]
    before = lab.cli("jobs", "list", "-i", lab.name, "--json").json()["jobs"]
    ids = "/var/lib/mammoctl/datasets/kept/ids.csv"
    total = lab.on(master, f"sha256sum {ids}; stat -c '%a %U' {ids}")
    owners = lab.on(master, f"stat -c '%a %U:%G %n' {JOBS}/*/*")
    lab.on(master, f"rm -rf {JOBS}/* /var/lib/mammoctl/datasets/kept")
    done = lab.run("restore", str(saved), "--yes", "--json").json()
    assert (len(done["jobs"]), done["data-ids"]) == (1, ["kept"])
    assert lab.cli("jobs", "list", "-i", lab.name, "--json").json()["jobs"] == before
    assert lab.on(master, f"stat -c '%a %U:%G %n' {JOBS}/*/*") == owners
    assert lab.on(master, f"sha256sum {ids}; stat -c '%a %U' {ids}") == total


def test_a_machine_that_knows_nothing_becomes_one_that_works(
    lab: OwnLab, saved: Path, tmp_path: Path
) -> None:
    elsewhere = Cli(tmp_path, lab.cli.env)
    done = elsewhere("restore", str(saved), "--only", "inventory", "--json").json()
    assert "secrets/spark_auth_secret" in done["inventory"]["written"]
    for path in ("secrets/spark_auth_secret", "known_hosts", "hosts.yml", "group_vars/all.yml"):
        mine, there = lab.inventory / path, tmp_path / "inventory" / lab.name / path
        assert there.read_bytes() == mine.read_bytes(), path
    assert elsewhere("status", "-i", lab.name, "--json").json()["ok"]


def test_the_names_of_another_cluster_are_refused(lab: OwnLab, saved: Path) -> None:
    """The blocks on the workers are those of another HDFS: nothing is stopped, nothing lost."""
    master, worker = lab.nodes[:2]
    version = "/var/lib/hdfs/data/current/VERSION"
    lab.on(worker, f"cp -p {version} /root/VERSION; sed -i 's/clusterID=.*/clusterID=x/' {version}")
    try:
        refused = lab.run("restore", str(saved), "--only", "name-table", "--force", "--yes", rc=2)
        assert f"{worker} keeps blocks of HDFS x" in refused.stderr
        assert lab.on(master, "systemctl is-active hdfs-namenode") == "active"
    finally:
        lab.on(worker, f"cp -p /root/VERSION {version}; rm /root/VERSION")
    damaged = saved.with_name("damaged.backup")
    shutil.copy(saved, damaged)
    with damaged.open("r+b") as stream:
        stream.seek(damaged.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, 1)
        stream.write(bytes([byte[0] ^ 1]))
    assert "is damaged" in lab.run("restore", str(damaged), "--yes", rc=1).stderr
