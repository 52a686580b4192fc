"""``mammoctl node``: workers that join the cluster, and that leave it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl import completion
from mammoctl.commands.app import App
from mammoctl.commands.options import BundleGiven, Inventory, Json, Yes, again

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes

app = App(help="Workers that join the cluster, and that leave it.")


@app.command()
def add(
    host: Annotated[
        list[str], typer.Argument(metavar="HOST", help="[NAME=][USER@]HOST[:PORT], or several.")
    ],
    *,
    inventory: Inventory = None,
    user: Annotated[
        str | None, typer.Option("--user", help="Login, where it is not the one of the others.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Private key; the same.")] = None,
    accept_new: Annotated[
        bool, typer.Option("--accept-new-host-keys", help="Pin the host keys without a question.")
    ] = False,
    bundle: BundleGiven = None,
    provision: Annotated[
        bool, typer.Option("--provision/--no-provision", help="Provision the cluster with them.")
    ] = True,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Add workers: reach them, pin their keys, write them into the inventory, provision.

    The inventory keeps its comments. All nodes are provisioned, because they learn of the new ones
    (names, ports, shares of memory); Spark restarts where its settings change.

    Examples:
        mammoctl node add ward4=10.0.0.4

        mammoctl node add ward4=10.0.0.4 ward5=10.0.0.5 --accept-new-host-keys --yes
    """
    from dataclasses import replace

    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.bundle import carried
    from mammoctl.commands import init
    from mammoctl.commands import provision as provisioning
    from mammoctl.errors import MammoctlError
    from mammoctl.init import draft
    from mammoctl.node import join, leave
    from mammoctl.ssh import Nodes

    cluster = inventories.load(inventory)
    leave.refuse_move(cluster, len(cluster.hosts) + len(host))
    if bundle:
        carried.named(bundle)  # before the inventory is changed
    usual = join.usual_login(cluster)
    login = replace(
        usual,
        user=user or usual.user,
        key=key.expanduser().absolute() if key else usual.key,
    )
    drafts = draft.from_words(host, login)
    join.refuse_known(cluster, drafts)
    console.step(f"Reaching {', '.join(one.name for one in drafts)}")
    found = join.reach(cluster, drafts, lambda keys: init.confirm_keys(keys, accept_new, as_json))
    for one in found:
        machine = one.machine
        console.note(
            f"{one.draft.name} ({one.draft.address}): {machine.pretty}, {machine.cores} cores, "
            f"{machine.memory_mb / 1024:.1f} GiB"
        )
    now = join.write(cluster, found)
    console.note(f"{', '.join(one.draft.name for one in found)}: written into {cluster.source}")
    if provision:
        if bundle is None:
            with Nodes(cluster) as nodes:
                bundle = carried.of_cluster(nodes)
        try:
            provisioning.provision(inventory=inventory, bundle=bundle, yes=yes, as_json=as_json)
        except MammoctlError as exc:
            new = ", ".join(one.draft.name for one in found)
            exc.details.append(
                f"the inventory has {new} by now: mammoctl provision {again(inventory)}".rstrip()
                + " brings them in, mammoctl node remove takes one out again"
            )
            raise
        with Nodes(now) as nodes:
            leave.keep_all(nodes)  # one of them may have left before
        return
    if as_json:
        names = [one.draft.name for one in found]
        console.result_json(
            {"schema": 1, "cluster": cluster.name, "added": names, "provisioned": False}
        )
    else:
        console.note("next: mammoctl provision")


@app.command()
def remove(
    node: Annotated[
        str,
        typer.Argument(metavar="NODE", help="The worker.", autocompletion=completion.hosts),
    ],
    *,
    inventory: Inventory = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", min=0, metavar="SECONDS", help="For work there, and for its blocks."
        ),
    ] = 3600,
    force: Annotated[
        bool, typer.Option("--force", help="Although applications hold cores there.")
    ] = False,
    bundle: BundleGiven = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take a worker out of the cluster without losing data: drain it, copy its blocks, stop it.

    Waits until no application holds its cores, while jobs that come wait for their turn; has HDFS
    copy what only it would take along, stops its services for good, takes it out of the inventory
    (whose comments stay), and provisions the others. The machine itself keeps what was installed.
    Safe to repeat after an interruption.

    Examples:
        mammoctl node remove ward4

        mammoctl node remove ward4 --wait 86400 --yes
    """
    from mammoctl import cluster as clusters
    from mammoctl import console, lock, provision
    from mammoctl import inventory as inventories
    from mammoctl.bundle import carried
    from mammoctl.node import edit, join, leave
    from mammoctl.ssh import Nodes

    began = time.monotonic()
    cluster = inventories.load(inventory)
    name_it = again(inventory)
    with Nodes(cluster) as nodes:
        name = leave.meant(nodes, node)
        with lock.held(nodes, "node remove", option=name_it):
            record = clusters.read(nodes)
            now, before, after = cluster, "", ""
            if name in cluster.hosts:
                leave.refuse(cluster, record, name)
                before = cluster.source.read_text(encoding="utf-8")
                after = edit.removed(before, name, where=cluster.source)
                now = leave.without(cluster, name)
                if name in record.workers:  # else it was never provisioned
                    _agree(nodes, record, name, yes=yes, as_json=as_json)
            else:
                question = f"{name} is out of the inventory already. Provision the others?"
                console.confirm(question, yes=yes, as_json=as_json)
            request = provision.Request(bundle=bundle or carried.of_cluster(nodes))
            # What the others need is had before this one is touched: a closed network, say.
            prepared = provision.prepare(now, [], request.bundle, progress=not as_json)
            if after:
                if name in record.workers:
                    _drain(nodes, record, name, wait, force=force)
                now = join.rewrite(cluster, before, after, {name})
                console.note(f"{name}: stopped, and taken out of {cluster.source}")
            if record.storage.kind == "hdfs":
                leave.keep_all(nodes)
            result = provision.apply(now, prepared, request, None, False, option=name_it)
    seconds = time.monotonic() - began
    if as_json:
        console.result_json(
            {
                **result.as_json(),
                "schema": 1, "cluster": cluster.name, "removed": name,
                "workers": [host.name for host in now.workers],
                "seconds": round(seconds, 1),
            }
        )  # fmt: skip
    else:
        console.result(f"{cluster.name}: {name} has left, in {seconds:.0f} s")
        console.note(f"next: mammoctl verify {name_it}".rstrip())


def _agree(nodes: Nodes, record: ClusterFile, name: str, *, yes: bool, as_json: bool) -> None:
    """See that the others can do without it, and ask."""
    from mammoctl import console
    from mammoctl.node import leave
    from mammoctl.status.gather import gather

    leave.require(gather(nodes, answer_s=15), record, name)
    if record.storage.kind == "hdfs":
        leave.require_room(leave.blocks(nodes, record), record, name)
    console.confirm(
        f"Take {name} out of {record.cluster}? Its data is copied to the others first.",
        yes=yes, as_json=as_json,
    )  # fmt: skip


def _drain(nodes: Nodes, record: ClusterFile, name: str, wait_s: float, *, force: bool) -> None:
    """Let a node's work end and its blocks be copied, then stop it for good.

    Raises:
        NotDrained: it is still needed.
        RemoteError: its services did not stop.
    """
    from mammoctl import console
    from mammoctl.errors import Interrupted
    from mammoctl.node import leave

    deadline = time.monotonic() + wait_s
    try:
        try:
            if not force:
                _await_work(nodes, name, deadline)
            if why := leave.let_spark_go(nodes, record, name):
                console.warn(
                    f"the Spark master did not let {name} go ({why}); its worker is just stopped"
                )
        finally:
            leave.let_in(nodes)
        if record.storage.kind == "hdfs":
            _copy_blocks(nodes, record, name, deadline)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; {name} is still in the inventory, and may take no new work",
            hint=f"go on: mammoctl node remove {name}; keep it: mammoctl restart --node {name}, "
            "and mammoctl provision",
        ) from None
    units = ["spark-worker.service", "hdfs-datanode.service"]
    nodes.run(name, ["systemctl", "disable", "--now", *units], sudo=True, timeout=180)


def _copy_blocks(nodes: Nodes, record: ClusterFile, name: str, deadline: float) -> None:
    from mammoctl import console
    from mammoctl.node import leave

    console.step(f"Copying the blocks of {name} to the others")
    last = [""]

    def told(text: str) -> None:
        if text != last[0]:
            console.note(f"  {name}: {text}")
            last[0] = text

    left = max(0.0, deadline - time.monotonic())
    leave.copy_blocks(nodes, record, name, wait_s=left, told=told)


def _await_work(nodes: Nodes, name: str, deadline: float) -> None:
    from mammoctl import console
    from mammoctl.node import leave
    from mammoctl.status.gather import gather

    told = False
    leave.hold_back(nodes, name)
    while cores := leave.work_on(gather(nodes, answer_s=15), name):
        if time.monotonic() > deadline:
            raise leave.NotDrained(
                f"{name}: applications still hold {cores} cores",
                hint="mammoctl status names them; wait longer with --wait, or --force: they may "
                "fail then",
            )
        if not told:
            console.note(f"  {name}: waiting until applications give back {cores} cores")
            told = True
        time.sleep(5)
        leave.hold_back(nodes, name)


def register(root: typer.Typer) -> None:
    """Add the group of commands."""
    root.add_typer(app, name="node")
