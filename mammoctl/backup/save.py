"""Save of a cluster what cannot be made again: its description, jobs, maps of ids, name table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import cluster as clusters
from mammoctl.backup import archive, inventory, name_table, records
from mammoctl.status import master

if TYPE_CHECKING:
    from collections.abc import Callable

    from mammoctl.cluster import ClusterFile
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

KIND = "backup"
DESCRIPTION = "inventory/"
NAME_TABLE = "name-table"


def tar(part: str) -> str:
    """Return the name of the part that is a tar of its own."""
    return f"{part}.tar"


def save(nodes: Nodes, target: Path, told: Callable[[str], None]) -> dict[str, Any]:
    """Write a backup and return its manifest.

    Args:
        nodes: the way to the cluster.
        target: the file; there must be none.
        told: hears what is being done.

    Raises:
        NotProvisioned: there is nothing to save but the inventory.
        RemoteError: the master cannot give it.
        UsageError: the file is there already.
    """
    cluster = nodes.cluster
    record = clusters.read(nodes)
    with archive.draft(target) as parts:
        about = _about(cluster, record)
        for path in inventory.files(cluster, keys=True):
            parts.add(DESCRIPTION + inventory.name_of(cluster, path), path)
        if not cluster.known_hosts.is_relative_to(cluster.path):
            told(f"not {cluster.known_hosts}: it lies outside of the inventory's folder")
        for kind in records.ROOTS:
            about[kind] = records.there(nodes, kind)
            told(f"{len(about[kind])} {_WORDS[kind]}")
            path = parts.file()
            records.save(nodes, kind, path)
            parts.add(tar(kind), path)
        if record.storage.kind == "hdfs":
            about[NAME_TABLE] = _table(nodes, record, parts, told)
        return parts.write(target, KIND, about)


_WORDS = {"jobs": "jobs with their records", "data-ids": "maps of data sets' ids"}


def _about(cluster: Cluster, record: ClusterFile) -> dict[str, Any]:
    from mammoctl.jobs.known import submitter

    return {
        "cluster": cluster.name,
        "made_by": submitter(),
        "inventory": {"folder": cluster.path.name, "source": cluster.source.name},
        "spark_version": record.spark_version,
        "bundle": record.bundle,
        "storage": record.storage.kind,
    }


def _table(
    nodes: Nodes, record: ClusterFile, parts: archive.Draft, told: Callable[[str], None]
) -> dict[str, Any]:
    path = parts.file()
    counted = name_table.counts(nodes, master.hdfs_page(nodes, record))
    told(f"the names of {counted['files']} files and folders in HDFS")
    table = name_table.save(nodes, path)
    parts.add(tar(NAME_TABLE), path)
    counts = {key: counted[key] for key in ("files", "blocks")}
    return {**table.as_json(), **counts, "jar": name_table.jar(nodes)}
