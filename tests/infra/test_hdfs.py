"""Role hdfs: the names are kept, every worker holds blocks, nothing is missing."""

import pytest
from infra_support import expect, setting
from probes import live_datanodes, read_namenode


@pytest.fixture(scope="session", autouse=True)
def _hdfs_only(master):
    if master.record["storage"]["kind"] != "hdfs":
        pytest.skip(f"the cluster's storage is {master.record['storage']['kind']}, not HDFS")


@pytest.fixture(scope="session")
def namenode(master, _hdfs_only):
    return read_namenode(master)


def test_namenode(master):
    """The NameNode runs, also after a reboot."""
    master.expect_service("hdfs-namenode")


def test_datanode(worker):
    """The DataNode runs, also after a reboot."""
    worker.expect_service("hdfs-datanode")


def test_private(worker):
    """Blocks are readable through HDFS only."""
    user = setting(worker, "hdfs_user")
    worker.expect_file(setting(worker, "hdfs_data_dir"), 0o700, user, user)


def test_names_private(master):
    """The names of all files are readable through HDFS only."""
    user = setting(master, "hdfs_user")
    master.expect_file(setting(master, "hdfs_name_dir"), 0o700, user, user)


def test_live(worker, namenode):
    """The NameNode counts the worker's DataNode among the living."""
    names = live_datanodes(namenode)
    addresses = {str(value.get("infoAddr", "")).rpartition(":")[0] for value in names.values()}
    expect(
        worker.name in names or worker.address in addresses,
        f"not among the live DataNodes: {', '.join(names) or 'none'}",
        f"on {worker.name}: sudo systemctl restart hdfs-datanode; sudo journalctl -u hdfs-datanode",
    )


def test_no_strangers(namenode, cluster):
    """No DataNode is live that the inventory does not have."""
    live = set(live_datanodes(namenode))
    known = {text for host in cluster.workers for text in (host.name, host.address)}
    expect(
        live <= known,
        f"unknown DataNodes: {', '.join(sorted(live - known))}",
        "stop hdfs-datanode there, or add the host to spark_workers",
    )


def test_writable(namenode):
    """HDFS has left its safe mode."""
    expect(
        not namenode["Safemode"],
        f"HDFS is read-only: {namenode['Safemode'][:200]}",
        "start the missing DataNodes; on the master: sudo /opt/mammoctl/bin/hdfs dfsadmin -report",
    )


def test_nothing_missing(namenode):
    """Every block is there."""
    expect(
        int(namenode["NumberOfMissingBlocks"]) == 0,
        f"{namenode['NumberOfMissingBlocks']} blocks are missing",
        "start the DataNodes that held them; on the master: sudo /opt/mammoctl/bin/hdfs fsck /",
    )


def test_room(namenode):
    """There is room for data."""
    expect(
        live_datanodes(namenode),
        "no DataNode reports, so there is no room at all",
        "on the workers: sudo systemctl start hdfs-datanode; sudo journalctl -u hdfs-datanode",
    )
    free = int(namenode["CapacityRemaining"]) // 2**20
    expect(free >= 1000, f"{free} MiB are left in HDFS", "delete data, or add a worker")
