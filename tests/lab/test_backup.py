"""What a cluster cannot make again is lost and comes back; the data is read by its checksums."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Cli
from .own_lab import OwnLab, own_lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET = "mmkeep", "10.213.22.0/24"
HDFS = "/opt/mammoctl/bin/hdfs"
NAMES = "/var/lib/hdfs/name"
JOBS = "/var/lib/mammoctl/jobs"
PROGRAM = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("the sum is", spark.sparkContext.parallelize(range(100), 2).sum())
"""


@pytest.fixture(scope="module")
def ward(cli: Cli, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnLab]:
    """A provisioned lab with a data set, a job and a file of its own in HDFS."""
    with own_lab(cli, LAB, SUBNET, "--nodes", "2") as lab:
        lab.run("provision", "--json")
        program = tmp_path_factory.mktemp("program") / "sum.py"
        program.write_text(PROGRAM)
        cli("data", "push", str(synthetic), "--name", "kept", "-i", LAB, timeout=600)
        cli("submit", str(program), "-i", LAB, timeout=600)
        lab.on(
            lab.nodes[0],
            "head -c 20000000 /dev/urandom > /tmp/data && sha256sum < /tmp/data > /tmp/sum &&"
            f" {HDFS} dfs -put /tmp/data /mammoctl/own",
        )
        yield lab


@pytest.fixture(scope="module")
def saved(ward: OwnLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("safe") / "ward.backup"
    done = ward.run("backup", "--output", str(target), "--json").json()
    assert done["manifest"]["data-ids"] == ["kept"]
    assert len(done["manifest"]["jobs"]) == 1
    assert target.stat().st_mode & 0o777 == 0o600
    with tarfile.open(target) as tar:
        assert {"name-table.tar", "jobs.tar", "data-ids.tar"} <= set(tar.getnames())
    return target


def data_is_there(ward: OwnLab) -> None:
    """Files are read whole, with the sums that they had; HDFS misses nothing."""
    ward.on(ward.nodes[0], f"{HDFS} dfs -cat /mammoctl/own | sha256sum | cmp - /tmp/sum")
    said = ward.on(ward.nodes[0], f"{HDFS} fsck /mammoctl", rc=None)
    assert "is HEALTHY" in said, said
    verdict = ward.cli("data", "verify", "kept", "-i", ward.name, "--json").json()
    assert verdict["ok"], verdict
    state = ward.run("status", "--json").json()
    assert state["ok"], state["findings"]


def test_work_goes_on_while_a_backup_is_made(ward: OwnLab, saved: Path) -> None:
    """The NameNode does not go into safe mode: what is being written meanwhile is written."""
    line = f"for i in $(seq 15); do echo $i | {HDFS} dfs -put -f - /mammoctl/during || exit 1; done"
    unit = "systemd-run --unit=writing --property=Type=exec sh -c"
    ward.on(ward.nodes[0], f"{unit} '{line}'")
    again = saved.with_name("again.backup")
    ward.run("backup", "--output", str(again))
    ward.on(ward.nodes[0], "while systemctl is-active -q writing; do sleep 1; done")
    assert ward.on(ward.nodes[0], "systemctl is-failed writing", rc=None) != "failed"
    assert ward.on(ward.nodes[0], f"{HDFS} dfs -cat /mammoctl/during") == "15"
    ward.run("restore", str(saved), "--yes")  # nothing is missing
    assert ward.on(ward.nodes[0], f"{HDFS} dfs -cat /mammoctl/during") == "15"
    ward.on(ward.nodes[0], f"{HDFS} dfs -rm -skipTrash /mammoctl/during")


def test_the_name_table_is_lost_and_comes_back(ward: OwnLab, saved: Path) -> None:
    """What was written after the backup has no name in it, and goes only when told."""
    master = ward.nodes[0]
    ward.on(master, f"echo later | {HDFS} dfs -put - /mammoctl/later")
    ward.on(master, f"systemctl kill -s KILL hdfs-namenode; rm -rf {NAMES}/*")
    refused = ward.run("provision", rc=1)
    assert "HDFS was formatted here before" in refused.stderr
    newer = ward.run("restore", str(saved), "--yes", rc=1)
    assert "written after the backup" in newer.stderr
    ward.on(master, f"{HDFS} dfs -cat /mammoctl/own | sha256sum | cmp - /tmp/sum")
    done = ward.run(
        "restore", str(saved), "--only", "name-table", "--discard-newer", "--yes", "--json"
    ).json()
    assert done["name-table"]["missing_blocks"] == 0
    assert done["name-table"]["discarded_bytes"] >= len("later\n")
    assert "jobs" not in done
    data_is_there(ward)
    assert ward.run("provision", "--json").json()["changed"] == []
    verdict = ward.run("verify", "--json", rc=None).json()
    assert verdict["ok"], [check for check in verdict["checks"] if check["outcome"] != "passed"]


def test_one_that_is_there_is_replaced_only_when_told(ward: OwnLab, saved: Path) -> None:
    master = ward.nodes[0]
    ward.on(master, f"echo later | {HDFS} dfs -put - /mammoctl/later")
    told = ward.run("restore", str(saved), "--only", "name-table", "--yes", "--json").json()
    assert "--force replaces it" in told["notes"][0]
    assert ward.on(master, f"{HDFS} dfs -cat /mammoctl/later") == "later"
    done = ward.run(
        *("restore", str(saved), "--only", "name-table", "--force", "--discard-newer"),
        *("--yes", "--json"),
    ).json()
    aside = done["name-table"]["aside"]
    assert ward.on(master, f"test -d {aside} && echo there") == "there"
    ward.on(master, f"{HDFS} dfs -test -e /mammoctl/later && exit 1 || exit 0")
    data_is_there(ward)


def test_jobs_and_maps_of_ids_come_back(ward: OwnLab, saved: Path) -> None:
    master = ward.nodes[0]
    before = ward.cli("jobs", "list", "-i", ward.name, "--json").json()["jobs"]
    ids = "/var/lib/mammoctl/datasets/kept/ids.csv"
    total = ward.on(master, f"sha256sum {ids}; stat -c '%a %U' {ids}")
    owners = ward.on(master, f"stat -c '%a %U:%G %n' {JOBS}/*/*")
    ward.on(master, f"rm -rf {JOBS}/* /var/lib/mammoctl/datasets/kept")
    done = ward.run("restore", str(saved), "--yes", "--json").json()
    assert (len(done["jobs"]), done["data-ids"]) == (1, ["kept"])
    assert ward.cli("jobs", "list", "-i", ward.name, "--json").json()["jobs"] == before
    assert ward.on(master, f"stat -c '%a %U:%G %n' {JOBS}/*/*") == owners
    assert ward.on(master, f"sha256sum {ids}; stat -c '%a %U' {ids}") == total


def test_a_machine_that_knows_nothing_becomes_one_that_works(
    ward: OwnLab, saved: Path, tmp_path: Path
) -> None:
    elsewhere = Cli(tmp_path, ward.cli.env)
    done = elsewhere("restore", str(saved), "--only", "inventory", "--json").json()
    assert "secrets/spark_auth_secret" in done["inventory"]["written"]
    for path in ("secrets/spark_auth_secret", "known_hosts", "hosts.yml", "group_vars/all.yml"):
        mine, there = ward.inventory / path, tmp_path / "inventory" / ward.name / path
        assert there.read_bytes() == mine.read_bytes(), path
    assert elsewhere("status", "-i", ward.name, "--json").json()["ok"]


def test_the_names_of_another_cluster_are_refused(ward: OwnLab, saved: Path) -> None:
    """The blocks on the workers are those of another HDFS: nothing is stopped, nothing lost."""
    master, worker = ward.nodes[:2]
    version = "/var/lib/hdfs/data/current/VERSION"
    ward.on(
        worker, f"cp -p {version} /root/VERSION; sed -i 's/clusterID=.*/clusterID=x/' {version}"
    )
    try:
        refused = ward.run("restore", str(saved), "--only", "name-table", "--force", "--yes", rc=2)
        assert f"{worker} keeps blocks of HDFS x" in refused.stderr
        assert ward.on(master, "systemctl is-active hdfs-namenode") == "active"
    finally:
        ward.on(worker, f"cp -p /root/VERSION {version}; rm /root/VERSION")
    damaged = saved.with_name("damaged.backup")
    shutil.copy(saved, damaged)
    with damaged.open("r+b") as stream:
        stream.seek(damaged.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, 1)
        stream.write(bytes([byte[0] ^ 1]))
    assert "is damaged" in ward.run("restore", str(damaged), "--yes", rc=1).stderr
