"""Role hdfs: the names are kept, every worker holds blocks, nothing is missing."""

import json
import re

import pytest
from infra_support import expect

CONF = "/etc/hadoop/hdfs-site.xml"


@pytest.fixture(autouse=True)
def _hdfs_only(master):
    if master.record["storage"]["kind"] != "hdfs":
        pytest.skip(f"the cluster's storage is {master.record['storage']['kind']}, not HDFS")


@pytest.fixture(scope="session")
def namenode(master):
    """The NameNode's own account of the file system (its JMX page)."""
    text = master.host.file(CONF).content_string
    found = re.search(r"dfs\.namenode\.http-address</name>\s*<value>([^<]+)", text)
    expect(found, f"{CONF} does not name the NameNode's page")
    page = f"http://{found[1]}/jmx?qry=Hadoop:service=NameNode,name="
    info = master.get_json(page + "NameNodeInfo")["beans"][0]
    return {**info, **master.get_json(page + "FSNamesystem")["beans"][0]}


def test_namenode(master):
    """The NameNode runs, also after a reboot."""
    master.expect_service("hdfs-namenode")


def test_datanode(worker):
    """The DataNode runs, also after a reboot."""
    worker.expect_service("hdfs-datanode")


def test_private(worker):
    """Blocks are readable through HDFS only."""
    worker.expect_file("/var/lib/hdfs/data", 0o700, "hdfs", "hdfs")


def test_names_private(master):
    """The names of all files are readable through HDFS only."""
    master.expect_file("/var/lib/hdfs/name", 0o700, "hdfs", "hdfs")


def test_live(worker, namenode):
    """The NameNode counts the worker's DataNode among the living."""
    live = json.loads(namenode["LiveNodes"])
    names = {key.partition(":")[0]: value for key, value in live.items()}
    addresses = {str(value.get("infoAddr", "")).rpartition(":")[0] for value in live.values()}
    expect(
        worker.name in names or worker.address in addresses,
        f"not among the live DataNodes: {', '.join(names) or 'none'}",
        f"on {worker.name}: sudo systemctl restart hdfs-datanode; sudo journalctl -u hdfs-datanode",
    )


def test_no_strangers(namenode, cluster):
    """No DataNode is live that the inventory does not have."""
    live = {key.partition(":")[0] for key in json.loads(namenode["LiveNodes"])}
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
    free = int(namenode["CapacityRemaining"]) // 2**20
    expect(free >= 1000, f"{free} MiB are left in HDFS", "delete data, or add a worker")
