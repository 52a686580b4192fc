"""``mammoctl backup`` and ``restore``: what of a cluster cannot be made again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammoctl.commands.options import Inventory, Json, Yes, again

if TYPE_CHECKING:
    from mammoctl.backup.archive import Archive
    from mammoctl.backup.inventory import Returned
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes


def backup(
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="By default CLUSTER-DATE-TIME.backup."),
    ] = None,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Save what cannot be made again to one file.

    The inventory with its host keys and secrets; the jobs on the master with their records and
    results; which file became which image of the data sets; HDFS's name table. Not the images and
    models in HDFS themselves: their copies lie on the workers. Work goes on meanwhile.

    The file holds secrets. It is readable by you alone.

    Examples:
        mammoctl backup

        mammoctl backup --output /media/safe/ward.backup
    """
    from mammoctl import console, lock
    from mammoctl import inventory as inventories
    from mammoctl.backup import save
    from mammoctl.ssh import Nodes

    began = time.monotonic()
    cluster = inventories.load(inventory)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    target = (output or Path(f"{cluster.name}-{stamp}.backup")).expanduser()
    with Nodes(cluster) as nodes, lock.held(nodes, "backup", option=again(inventory)):
        console.step(f"Saving {cluster.name}")
        manifest = save.save(nodes, target, lambda text: console.note(f"  {text}"))
    size, seconds = target.stat().st_size, time.monotonic() - began
    if as_json:
        console.result_json(
            {
                "schema": 1, "cluster": cluster.name, "file": str(target), "bytes": size,
                "seconds": round(seconds, 1),
                "manifest": {key: value for key, value in manifest.items() if key != "about"},
            }
        )  # fmt: skip
        return
    console.result(f"{target}: {size / 1e6:.1f} MB, {seconds:.0f} s")
    console.warn(f"{target} holds secrets of {cluster.name}: keep it as you keep keys")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `mammoctl backup` wrote.")],
    *,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PART",
            help="inventory, jobs, data-ids or name-table; may be repeated. By default all that "
            "is missing.",
        ),
    ] = None,
    inventory: Inventory = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there, of the parts named by --only.")
    ] = False,
    discard_newer: Annotated[
        bool,
        typer.Option(
            "--discard-newer",
            help="Give up the blocks in HDFS that were written after the backup: its name table "
            "cannot name them.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put back from a backup what is missing, or the parts that are asked for.

    Every checksum is compared first. What is there stays, unless --force is given with --only. The
    inventory comes first, so that this works on a machine that knows nothing of the cluster; then
    HDFS's name table (the NameNode restarts, and the blocks on the workers must be of the same
    HDFS); then jobs and maps of ids.

    Examples:
        mammoctl restore ward-20261121-101500.backup

        mammoctl restore ward.backup --only name-table
    """
    from mammoctl import console, lock
    from mammoctl.backup import restore as restoring
    from mammoctl.backup.archive import Archive
    from mammoctl.backup.save import KIND
    from mammoctl.cluster import NotProvisioned
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes

    began = time.monotonic()
    chosen = set(only or ())
    if unknown := chosen - set(restoring.PARTS):
        raise UsageError(
            f"a backup has no part {', '.join(sorted(unknown))}",
            hint=f"the parts are {', '.join(restoring.PARTS)}",
        )
    if force and not chosen:
        raise UsageError(
            "--force replaces what is there, and must be told what",
            hint=f"name the parts with --only: {', '.join(restoring.PARTS)}",
        )
    with Archive(file.expanduser(), KIND) as saved:
        where = restoring.folder(saved, inventory)
        described = not chosen or "inventory" in chosen
        if force and described:
            console.confirm(
                f"Replace what differs of the inventory in {where}?", yes=yes, as_json=as_json
            )
        returned = restoring.describe(saved, where, wanted=described, force=force)
        _tell_inventory(where, returned)
        done: dict[str, Any] = {}
        notes: list[str] = []
        if chosen != {"inventory"}:
            cluster = restoring.load(saved, where)
            option = again(inventory)
            try:
                with Nodes(cluster) as nodes, lock.held(nodes, "restore", option=option):
                    only_there = chosen - {"inventory"}
                    done, notes = _on_master(
                        nodes,
                        saved,
                        only_there,
                        force=force,
                        discard=discard_newer,
                        yes=yes,
                        as_json=as_json,
                    )
            except NotProvisioned as exc:
                if chosen:
                    raise
                notes = [f"{exc.message}: the rest can be restored after `mammoctl provision`"]
    seconds = time.monotonic() - began
    for text in notes:
        console.note(text)
    if as_json:
        console.result_json(
            {
                "schema": 1, "cluster": saved.manifest["cluster"], "file": str(file),
                "seconds": round(seconds, 1), "notes": notes,
                "inventory": {
                    "folder": str(where), "written": returned.written, "left": returned.left,
                    "aside": str(returned.aside) if returned.aside else None,
                },
                **done,
            }
        )  # fmt: skip
        return
    _show(saved, returned, done, seconds)


def _on_master(
    nodes: Nodes,
    saved: Archive,
    only: set[str],
    *,
    force: bool,
    discard: bool,
    yes: bool,
    as_json: bool,
) -> tuple[dict[str, Any], list[str]]:
    """Put back what belongs on the master; return what was done, and what was not and why."""
    from mammoctl import console
    from mammoctl.backup import restore as restoring

    planned = restoring.plan(nodes, saved, only, force=force, discard=discard)
    if not (lines := planned.lines()):
        return {}, planned.notes
    for line in lines:
        console.note(f"  {line}")
    verb = "Replace" if force else "Put back"
    console.confirm(f"{verb} this on {nodes.cluster.master.name}?", yes=yes, as_json=as_json)
    done = restoring.act(nodes, saved, planned, lambda: _start(nodes), force=force, discard=discard)
    return done, planned.notes


def _start(nodes: Nodes) -> bool:
    """Start the services; False for a cluster that is half provisioned: HDFS is all it has."""
    from mammoctl import cluster as clusters
    from mammoctl.ansible.runner import run_playbook

    cluster: Cluster = nodes.cluster
    try:
        clusters.read(nodes)
    except clusters.NotProvisioned:
        return False
    run_playbook("start", cluster, title=f"start {cluster.name}")
    return True


def _tell_inventory(where: Path, returned: Returned) -> None:
    from mammoctl import console

    if returned.written:
        console.note(f"  {where}: {', '.join(returned.written)}")
    for name in returned.left:
        console.note(f"  {where / name} is another one than in the backup, and stays")
    if returned.aside:
        console.note(f"  what was there before is in {returned.aside}")


def _show(saved: Archive, returned: Returned, done: dict[str, Any], seconds: float) -> None:
    from mammoctl import console

    words = {"jobs": "jobs", "data-ids": "maps of ids"}
    told = [f"{len(returned.written)} files of the inventory"] if returned.written else []
    told += [f"{len(done[kind])} {word}" for kind, word in words.items() if done.get(kind)]
    table = done.get("name-table")
    if table is not None and "files" in table:
        told.append(
            f"HDFS's names ({table['files']} files and folders, {table['missing_blocks']} blocks "
            "missing)"
        )
    elif table is not None:
        told.append("HDFS's names")
    name = saved.manifest["cluster"]
    if not told:
        console.result(f"{name}: nothing was missing")
        return
    console.result(f"{name}: put back {'; '.join(told)}, {seconds:.0f} s")
    if table is not None:
        whole = "files" in table
        console.note(f"next: mammoctl {'verify; mammoctl data verify' if whole else 'provision'}")


def register(app: typer.Typer) -> None:
    """Add ``backup`` and ``restore`` to the command line."""
    app.command()(backup)
    app.command()(restore)
