"""``mammoctl access``: further operators of a cluster."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mammoctl import completion
from mammoctl.commands.app import App
from mammoctl.commands.options import Inventory, Json, Yes, again

if TYPE_CHECKING:
    from mammoctl.access.keys import PublicKey
    from mammoctl.access.nodes import Access, Seen

app = App(help="Let further operators in, and out again.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the operator is called here.")]
Known = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="As `access list` shows it.", autocompletion=completion.operators
    ),
]


@app.command()
def grant(
    name: Name,
    *,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE.pub", help="Their public key; left out, the one granted before."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write what they need to this file."),
    ] = None,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Let an operator in on every node, and write what they need.

    Their public key joins those of the inventory's login, in a line that is marked as mammoctl's.
    The file has the inventory, the nodes' host keys and the cluster's secrets, and nobody's private
    key; on their machine `mammoctl access accept FILE` makes an inventory of it.

    Examples:
        mammoctl access grant maria --key maria.pub --output maria.access

        mammoctl access grant maria
    """
    from mammoctl import console, lock
    from mammoctl import inventory as inventories
    from mammoctl.access import handover, keys
    from mammoctl.access import nodes as everywhere
    from mammoctl.jobs.known import submitter
    from mammoctl.ssh import Nodes

    keys.check_name(name)
    given = keys.read(key.expanduser()) if key else None
    cluster = inventories.load(inventory)
    option = again(inventory)
    with Nodes(cluster) as nodes, lock.held(nodes, "access grant", option=option):
        if output:
            handover.require(nodes, output.expanduser())
        before = everywhere.ask(nodes, "list")
        public = _key_of(name, given, before, option)
        known = before.access.get(name)
        seen = everywhere.ask(
            nodes, "grant", name=name, kind=public.kind, blob=public.blob,
            since=str(known.since if known else int(time.time())),
            by=known.by if known else submitter().replace(" ", "_"),
        )  # fmt: skip
        if output:
            handover.write(nodes, output.expanduser(), name, public)
    if as_json:
        console.result_json(
            {
                "schema": 1, "cluster": cluster.name, "name": name,
                "fingerprint": public.fingerprint, "file": str(output) if output else None,
                **_told(seen),
            }
        )  # fmt: skip
    else:
        one = seen.access.get(name)
        where = ", ".join(one.nodes) if one else "no node"
        console.result(f"{name} ({public.fingerprint}) is let in on {where}")
        if output:
            console.warn(f"{output} holds secrets of {cluster.name}: hand it over on a safe way")
            console.note(f"on their machine: mammoctl access accept {output.name} --key KEY")
    if seen.strangers:
        console.warn(
            f"{', '.join(seen.strangers)}: a line that is not mammoctl's lets this key in, too; a "
            "revoke will not remove it"
        )
    everywhere.require_all(
        seen, f"the access of {name}", f"mammoctl access grant {name} {option}".rstrip()
    )


def _key_of(name: str, given: PublicKey | None, before: Seen, option: str) -> PublicKey:
    from mammoctl.access.keys import PublicKey
    from mammoctl.errors import UsageError

    one = before.access.get(name)
    if given is None:
        if one is None or len(one.blobs) != 1:
            raise UsageError(
                f"{name} has {'several keys' if one else 'no access yet'}",
                hint=f"give the key: mammoctl access grant {name} --key FILE.pub",
            )
        ((mark, blob),) = one.blobs.items()
        return PublicKey(one.keys[mark], blob)
    if one and set(one.keys) != {given.fingerprint}:
        raise UsageError(
            f"{name} has another key already: {', '.join(one.keys)}",
            hint=f"mammoctl access revoke {name} {option}".rstrip() + ", then grant the new one; "
            "or choose another name for somebody else",
        )
    return given


@app.command("list")
def list_(*, inventory: Inventory = None, as_json: Json = False) -> None:
    """List who was let in by mammoctl, on which nodes, since when.

    Exit code: 1 when a node could not be asked; what the others say is shown.

    Examples:
        mammoctl access list
    """
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.access import nodes as everywhere
    from mammoctl.ssh import Nodes

    cluster = inventories.load(inventory)
    with Nodes(cluster) as nodes:
        seen = everywhere.ask(nodes, "list")
    asked = [name for name in cluster.hosts if name not in seen.failed]
    if as_json:
        console.result_json(
            {
                "schema": 1, "cluster": cluster.name,
                "access": [_entry(one, asked) for _n, one in sorted(seen.access.items())],
                "left": _left(seen),
            }
        )  # fmt: skip
    elif not seen.access:
        if asked:
            where = " on the nodes that answered" if seen.failed else ""
            console.result(f"{cluster.name}: nobody was let in by mammoctl{where}")
    else:
        rows = []
        for name, one in sorted(seen.access.items()):
            missing = [node for node in asked if node not in one.nodes]
            where = "all" if not missing else f"{', '.join(one.nodes)}; not {', '.join(missing)}"
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.since))
            rows.append([name, "\n".join(one.keys), where, since, one.by])
        console.table("", ["name", "key", "nodes", "since", "granted by"], rows)
    if seen.failed:
        console.warn(f"not asked: {', '.join(seen.failed)}")
        for error in seen.failed.values():
            console.note(f"  {error.message}")
        raise typer.Exit(1)


@app.command()
def revoke(
    name: Known, *, inventory: Inventory = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Take an operator's key off every node.

    Only lines that mammoctl wrote are touched. Nodes that do not answer are named; the same command
    goes on with them. Connections that are open stay until they end. What was handed over stays
    known: `mammoctl secrets rotate` makes it worthless.

    Examples:
        mammoctl access revoke maria
    """
    from mammoctl import console, lock
    from mammoctl import inventory as inventories
    from mammoctl.access import keys
    from mammoctl.access import nodes as everywhere
    from mammoctl.errors import UsageError
    from mammoctl.ssh import Nodes

    keys.check_name(name)
    cluster = inventories.load(inventory)
    option = again(inventory)
    with Nodes(cluster) as nodes, lock.held(nodes, "access revoke", option=option):
        before = everywhere.ask(nodes, "list")
        if name not in before.access and not before.failed:
            known = ", ".join(sorted(before.access)) or "nobody"
            raise UsageError(
                f"{name} has no access to {cluster.name} that mammoctl granted",
                hint=f"these have: {known} (mammoctl access list)",
            )
        console.confirm(f"Take the key of {name} off {cluster.name}?", yes=yes, as_json=as_json)
        seen = everywhere.ask(nodes, "revoke", name=name)
    if as_json:
        console.result_json({"schema": 1, "cluster": cluster.name, "name": name, **_told(seen)})
    else:
        where = ", ".join(seen.changed) or "no node that answered"
        console.result(f"the key of {name} was taken off {where}")
    if seen.strangers:
        console.warn(
            f"{', '.join(seen.strangers)}: a line that is not mammoctl's still lets this key in: "
            "remove it from authorized_keys by hand"
        )
    console.note(
        f"next: mammoctl secrets rotate {option}".rstrip() + f": {name} knows the present secret"
    )
    everywhere.require_all(
        seen, f"the revocation for {name}", f"mammoctl access revoke {name} {option}".rstrip()
    )


@app.command()
def accept(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What you were handed.")],
    *,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="KEY", help="Your private key; SSH's own choice when left out."
        ),
    ] = None,
    inventory: Annotated[
        str | None,
        typer.Option("--inventory", "-i", metavar="NAME|PATH", help="Where to put the inventory."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the inventory that is there; it goes aside.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an inventory of what another operator has handed over.

    It goes to ./inventory under the cluster's name, or where -i says, and logs in with your key.

    Exit code: 1 when a node does not let you in; the inventory stays.

    Examples:
        mammoctl access accept maria.access --key ~/.ssh/id_ed25519
    """
    from mammoctl import console
    from mammoctl import inventory as inventories
    from mammoctl.access import handover
    from mammoctl.backup.archive import Archive
    from mammoctl.backup.restore import folder
    from mammoctl.errors import MammoctlError, UsageError
    from mammoctl.ssh import Nodes

    own = key.expanduser().absolute() if key else None
    if own and not own.is_file():
        raise UsageError(f"there is no file {own}", hint="name your private key")
    with Archive(file.expanduser(), handover.KIND) as saved:
        where = folder(saved, inventory)
        cluster = handover.accept(saved, where, own, force=force)
        manifest = saved.manifest
    with Nodes(cluster) as nodes:
        outcomes = nodes.run_all("true", timeout=60)
    failed = {name: out for name, out in outcomes.items() if isinstance(out, MammoctlError)}
    if as_json:
        console.result_json(
            {
                "schema": 1, "cluster": cluster.name, "folder": str(where),
                "fingerprint": manifest["fingerprint"],
                "reached": [name for name in cluster.hosts if name not in failed],
                "failed": {name: error.message for name, error in failed.items()},
            }
        )  # fmt: skip
    else:
        console.result(
            f"{where}: {len(cluster.hosts) - len(failed)} of {len(cluster.hosts)} nodes let you in"
        )
    for error in failed.values():
        console.warn(error.message)
    if failed:
        console.note(f"the key that was let in is {manifest['fingerprint']}")
        raise typer.Exit(1)
    if not as_json:
        console.note(f"next: mammoctl status -i {inventories.selector(cluster.source)}")


def _entry(one: Access, asked: list[str]) -> dict[str, Any]:
    return {
        "name": one.name, "fingerprints": sorted(one.keys), "since": one.since, "by": one.by,
        "nodes": one.nodes, "missing": [node for node in asked if node not in one.nodes],
    }  # fmt: skip


def _told(seen: Seen) -> dict[str, Any]:
    return {"changed": seen.changed, "strangers": seen.strangers, "left": _left(seen)}


def _left(seen: Seen) -> dict[str, str]:
    return {name: error.message for name, error in seen.failed.items()}


def register(root: typer.Typer) -> None:
    """Add the group of commands."""
    root.add_typer(app, name="access")
