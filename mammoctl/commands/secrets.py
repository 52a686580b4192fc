"""``mammoctl secrets``: what the parts of a cluster know each other by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from mammoctl.commands.app import App
from mammoctl.commands.options import Inventory, Json, Yes, again

if TYPE_CHECKING:
    from mammoctl.ansible.runner import PlaybookResult
    from mammoctl.inventory import Cluster

app = App(help="Change the secrets of a cluster.")


@app.callback()
def _group() -> None:
    """Change the secrets of a cluster."""


@app.command()
def rotate(
    *,
    inventory: Inventory = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although jobs or applications run; they may fail.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Give the cluster a new secret, and restart Spark with it.

    Every node gets it; then the master restarts, then the workers, and the command waits until all
    are registered again. What knows the old secret only is refused from then on. Cut off, the same
    command goes on; the old secret is kept until no node needs it. The key of the pseudonyms stays:
    with another one every image would get a new id.

    Examples:
        mammoctl secrets rotate

        mammoctl secrets rotate --yes --json
    """
    from mammoctl import console, lock, rotation, services
    from mammoctl import inventory as inventories
    from mammoctl.ssh import Nodes
    from mammoctl.status.gather import gather

    began = time.monotonic()
    cluster = inventories.load(inventory)
    option = again(inventory)
    with Nodes(cluster) as nodes, lock.held(nodes, "secrets rotate", option=option):
        state = gather(nodes, answer_s=15)
        rotation.require(state, option=option)
        work = services.work(state)
        if not force:
            rotation.refuse_work(work)
        elif work:
            console.warn(f"{', '.join(work)} may fail")
        unfinished = bool(rotation.begun(cluster.path))
        what = "Go on with the rotation of" if unfinished else "Change"
        where = f"{cluster.name}, and restart Spark on {len(cluster.hosts)} nodes"
        console.confirm(f"{what} the secret of {where}?", yes=yes, as_json=as_json)
        resumed = rotation.begin(cluster.path)
        result = _laid_down(cluster)
        rotation.finish(cluster.path)
    kept = rotation.kept(cluster.path)
    seconds = time.monotonic() - began
    if as_json:
        console.result_json(
            {
                **result.as_json(),
                "cluster": cluster.name,
                "seconds": round(seconds, 1),
                "rotated": list(rotation.ROTATED),
                "kept": kept,
                "resumed": resumed,
            }
        )
        return
    console.result(
        f"{cluster.name}: every node has a new secret, and all {len(cluster.workers)} workers are "
        f"registered with it, {seconds:.0f} s"
    )
    for name in kept:
        console.note(f"left as it is: {rotation.folder(cluster.path) / name}")
    console.note("other operators' copies of the inventory have the old secret: hand it over again")
    console.note(f"full log: {result.log}")


def _laid_down(cluster: Cluster) -> PlaybookResult:
    """Bring the new secret to every node and restart; an error says where the old one is."""
    from mammoctl import rotation
    from mammoctl.ansible.runner import run_playbook
    from mammoctl.errors import Interrupted, PlaybookFailed

    try:
        return run_playbook("rotate", cluster, title=f"rotate the secret of {cluster.name}")
    except (PlaybookFailed, Interrupted) as exc:
        where = rotation.folder(cluster.path)
        before = [where / (name + rotation.BEFORE) for name in rotation.begun(cluster.path)]
        exc.details += [
            "not every node has the new secret yet; running this again goes on with the same one",
            *(f"the one before is kept: {path}" for path in before),
        ]
        raise


def register(root: typer.Typer) -> None:
    """Add the group of commands."""
    root.add_typer(app, name="secrets")
