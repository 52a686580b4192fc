"""What the Spark master and the NameNode say of the cluster."""

from __future__ import annotations

import json
import re
from typing import Any

from infra_support import AGAIN, CheckFailed, Node

from mammoctl import spark_master

HDFS_SITE = "/etc/hadoop/hdfs-site.xml"


def read_master(master: Node) -> spark_master.MasterState:
    """Return the Spark master's own account of its workers and applications."""
    record = master.record["master"]
    url = f"http://{record['address']}:{record['ui_port']}/json/"
    return spark_master.parse(master.get_json(url))


def read_namenode(master: Node) -> dict[str, Any]:
    """Return the NameNode's own account of the file system (its JMX page)."""
    text = master.host.file(HDFS_SITE).content_string
    found = re.search(r"dfs\.namenode\.http-address</name>\s*<value>([^<]+)", text)
    if not found:
        raise CheckFailed(f"{HDFS_SITE} does not name the NameNode's page", AGAIN)
    page = f"http://{found[1]}/jmx?qry=Hadoop:service=NameNode,name="
    account: dict[str, Any] = {}
    for name in ("NameNodeInfo", "FSNamesystem"):
        beans = master.get_json(page + name)["beans"]
        if not beans:
            raise CheckFailed("the NameNode is still reading its names", "wait, then verify again")
        account |= beans[0]
    return account


def live_datanodes(namenode: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the DataNodes that the NameNode hears from, by host name."""
    live: dict[str, dict[str, Any]] = json.loads(namenode["LiveNodes"])
    return {key.partition(":")[0]: value for key, value in live.items()}
