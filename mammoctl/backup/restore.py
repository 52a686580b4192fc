"""Put back of a backup what is missing, or what is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import cluster as clusters
from mammoctl import inventory as inventories
from mammoctl import role_settings
from mammoctl.backup import inventory, name_table, records
from mammoctl.backup.save import DESCRIPTION, NAME_TABLE, tar
from mammoctl.errors import InventoryError, MammoctlError, RemoteError, UsageError
from mammoctl.jobs.remote.records import ALIVE

if TYPE_CHECKING:
    from mammoctl.backup.archive import Archive
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

PARTS = ("inventory", "jobs", "data-ids", NAME_TABLE)


@dataclass
class Plan:
    """What is going to be put back on the master.

    Attributes:
        folders: by kind of `records.ROOTS`: names.
        table: whether the name table.
        settle: whether HDFS is to go on with the table that has been put back before.
        notes: what is not, and why.
    """

    folders: dict[str, list[str]] = field(default_factory=dict)
    table: bool = False
    settle: bool = False
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the plan in words."""
        words = {"jobs": "jobs", "data-ids": "maps of ids"}
        told = [f"{words[k]}: {', '.join(names)}" for k, names in self.folders.items() if names]
        if self.settle:
            told.append("HDFS leaves its safe mode, and gives up blocks that its table cannot name")
        return told + (["HDFS's name table (the NameNode restarts)"] if self.table else [])


def folder(saved: Archive, selector: str | None) -> Path:
    """Return where the inventory of a backup lies on this machine, or will lie."""
    about = saved.manifest["inventory"]
    chosen = selector or os.environ.get("MAMMOCTL_INVENTORY") or Path(str(about["folder"])).name
    try:
        return inventories.find(chosen).parent
    except InventoryError:
        path = Path(chosen).expanduser()
        if path.is_dir():
            return path.resolve()
        return path.absolute() if path.name != chosen else Path.cwd() / "inventory" / chosen


def describe(saved: Archive, where: Path, *, wanted: bool, force: bool) -> inventory.Returned:
    """Put the inventory's files back; see `inventory.put_back`.

    Args:
        saved: the backup.
        where: the inventory's folder.
        wanted: whether they are meant; else only looked at.
        force: replace those that have another text.

    Raises:
        UsageError: the folder describes another cluster.
    """
    contents = {
        name.removeprefix(DESCRIPTION): saved.read(name)
        for name in saved.names
        if name.startswith(DESCRIPTION)
    }
    source = where / str(saved.manifest["inventory"]["source"])
    if source.exists():
        _require_name(saved, inventories.load(str(source)))
    if not wanted:
        return inventory.Returned()
    return inventory.put_back(where, contents, force=force)


def load(saved: Archive, where: Path) -> Cluster:
    """Read the cluster of an inventory's folder.

    Raises:
        UsageError: it is another one.
    """
    cluster = inventories.load(str(where / str(saved.manifest["inventory"]["source"])))
    _require_name(saved, cluster)
    return cluster


def _require_name(saved: Archive, cluster: Cluster) -> None:
    name = saved.manifest["cluster"]
    if cluster.name != name:
        raise UsageError(
            f"{saved.path} is of the cluster {name}, and {cluster.source} describes {cluster.name}",
            hint="name the folder of that cluster's inventory with -i, or one that is not there",
        )


def plan(
    nodes: Nodes, saved: Archive, only: Collection[str], *, force: bool, discard: bool = False
) -> Plan:
    """Look at the master and decide what is put back.

    Args:
        nodes: the way there.
        saved: the backup.
        only: parts that are asked for; all that is missing, when there are none.
        force: those that are there as well.
        discard: blocks that were written after the backup may go.

    Raises:
        NotProvisioned: there is nowhere to put it.
        OtherCluster: the backup is of other data.
    """
    found = Plan()
    wanted = [part for part in PARTS if not only or part in only]
    if NAME_TABLE in only and NAME_TABLE not in saved.manifest:
        raise UsageError(f"{saved.path} has no name table: the cluster's storage was not HDFS")
    if NAME_TABLE in wanted and NAME_TABLE in saved.manifest:
        if discard and not force and _is_same(nodes, saved):
            found.settle = True
        else:
            _plan_table(nodes, saved, found, asked=NAME_TABLE in only, force=force)
    kinds = [kind for kind in records.ROOTS if kind in wanted]
    try:
        clusters.read(nodes)
    except clusters.NotProvisioned:
        if not found.table and not found.settle:
            raise
        found.notes.append("jobs and maps of ids: after `mammoctl provision`, by this again")
        return found
    for kind in kinds:
        present = set(records.there(nodes, kind))
        listed = [str(name) for name in saved.manifest.get(kind, [])]
        found.folders[kind] = [name for name in listed if force or name not in present]
    if force and found.folders.get("jobs"):
        alive = _alive(nodes)
        found.notes += [
            f"job {job} runs: it is left alone" for job in found.folders["jobs"] if job in alive
        ]
        found.folders["jobs"] = [job for job in found.folders["jobs"] if job not in alive]
    return found


def _is_same(nodes: Nodes, saved: Archive) -> bool:
    there = name_table.present(nodes)
    return bool(there) and there.get("clusterID") == saved.manifest[NAME_TABLE]["cluster_id"]


def _alive(nodes: Nodes) -> set[str]:
    from mammoctl.jobs.known import list_jobs

    return {str(j["spec"]["id"]) for j in list_jobs(nodes) if j["state"]["state"] in ALIVE}


def _plan_table(nodes: Nodes, saved: Archive, found: Plan, *, asked: bool, force: bool) -> None:
    table, there = saved.manifest[NAME_TABLE], name_table.present(nodes)
    if there and not force:
        other = there.get("clusterID") != table["cluster_id"]
        if other or asked:
            which = "another HDFS" if other else "this HDFS"
            found.notes.append(
                f"the name table: the master has one, of {which}; --only {NAME_TABLE} --force "
                "replaces it: what was written since the backup is lost then"
            )
        return
    name_table.require_same(nodes, table)
    jar = name_table.jar(nodes)
    if not jar:
        raise clusters.NotProvisioned(
            f"{nodes.cluster.master.name} has no HDFS yet",
            hint="mammoctl provision; where it stops because HDFS does not become whole, go on "
            "with this",
        )
    if jar != table["jar"] and not force:
        raise UsageError(
            f"the name table was written by {table['jar']}; the cluster has {jar}",
            hint=f"bring the cluster to that version first; or try it: --only {NAME_TABLE} --force",
        )
    if there:
        _refuse_work(nodes)
    found.table = True


def _refuse_work(nodes: Nodes) -> None:
    from mammoctl import services
    from mammoctl.status.gather import gather

    if work := services.work(gather(nodes, answer_s=15)):
        raise MammoctlError(
            f"{', '.join(work)} {'runs' if len(work) == 1 else 'run'}, and may write to HDFS",
            hint="end it first (mammoctl jobs list, mammoctl jobs kill)",
        )


def act(
    nodes: Nodes,
    saved: Archive,
    planned: Plan,
    start: Callable[[], bool],
    *,
    force: bool,
    discard: bool = False,
) -> dict[str, Any]:
    """Do what was planned, and verify it.

    Args:
        nodes: the way there.
        saved: the backup.
        planned: what `plan` returned.
        start: starts the services and waits until they work; False where only HDFS could be
            started, because the rest is not there yet.
        force: replace what is there.
        discard: give up blocks that were written after the backup.

    Returns:
        What was put back, for ``--json``.

    Raises:
        RemoteError: a part could not be put back.
    """
    done: dict[str, Any] = {}
    if planned.table or planned.settle:
        done[NAME_TABLE] = _restore_table(nodes, saved, planned, start, discard=discard)
    for kind, names in planned.folders.items():
        if names:
            with saved.stream(tar(kind)) as stream:
                placed = records.put_back(nodes, kind, stream, names, force=force)
            done[kind] = placed.placed
    return done


def _restore_table(
    nodes: Nodes, saved: Archive, planned: Plan, start: Callable[[], bool], *, discard: bool
) -> dict[str, Any]:
    table, aside = saved.manifest[NAME_TABLE], ""
    if planned.table:
        with saved.stream(tar(NAME_TABLE)) as stream:
            aside = name_table.put_back(nodes, table, stream)
    page = name_table.page(nodes.cluster)
    wait_s = role_settings.number(nodes.cluster.vars, "hdfs_timeout_s")
    try:
        discarded = name_table.settle(nodes, page, discard=discard, wait_s=wait_s)
        whole = start()
    except MammoctlError as exc:
        if aside:
            exc.details.append(f"the names as they were lie in {aside} on the master")
        raise
    found: dict[str, Any] = {"aside": aside, "discarded_bytes": discarded}
    if not whole:
        return found
    found |= name_table.counts(nodes, page)
    if found["cluster_id"] != table["cluster_id"]:
        raise RemoteError(
            f"the NameNode runs with the names of HDFS {found['cluster_id']}, not with those of "
            f"the backup ({table['cluster_id']})",
            hint="mammoctl logs -u hdfs-namenode",
        )
    return found
