"""``mammoctl bundle``: what the nodes are installed from."""

from __future__ import annotations

from typing import Annotated

import typer

from mammoctl.commands.app import App
from mammoctl.commands.bundle_create import Inventory, create
from mammoctl.commands.options import Json

app = App(
    help="What the nodes are installed from: resolved and fetched once, then pushed over SSH.",
)
app.command()(create)

Key = Annotated[
    str | None,
    typer.Argument(
        metavar="[KEY|FILE]", help="A bundle, the first digits of its key, or where one lies."
    ),
]


@app.command()
def show(
    *,
    key: Key = None,
    files: Annotated[bool, typer.Option("--files", help="List every file, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the bundles that were made here; with KEY or FILE, one bundle's parts and sizes."""
    from mammoctl import console
    from mammoctl.bundle import carried, report, resolve
    from mammoctl.bundle.store import human

    found = [carried.named(key)] if key is not None else resolve.recorded()
    if as_json:
        console.result_json([report.summary(bundle) for bundle in found])
        return
    if key is None:
        rows = [(b.key, str(b.target), str(len(b.files)), human(b.size)) for b in found]
        console.table("Bundles", ["key", "nodes", "files", "size"], rows)
        return
    for bundle in found:
        report.show(bundle)
        if files:
            listed = [
                (f.kind, f.name, ", ".join(f.releases) or "all", human(f.size), f.sha256[:16])
                for f in bundle.files
            ]
            console.table("", ["part", "file", "releases", "size", "sha256"], listed)


@app.command()
def verify(*, key: Key = None, as_json: Json = False) -> None:
    """Compute the checksum of every file again; damaged files are removed from the store.

    Exit code 1 when a file is damaged or missing: `mammoctl bundle create` fetches it again.
    """
    from pathlib import Path

    from mammoctl import console
    from mammoctl.bundle import carried
    from mammoctl.bundle.store import human
    from mammoctl.errors import BundleError

    if key is not None and carried.is_file(key):
        bundle, problems = carried.problems(Path(key))
        files, total = len(bundle.files), bundle.size
        mend = f"copy it again, or make it anew: mammoctl bundle create --output {key}"
    else:
        files, total, problems = _verify_store(key)
        mend = "fetch them again: mammoctl bundle create (or mammoctl provision)"
    if as_json:
        console.result_json({"schema": 1, "files": files, "bytes": total, "problems": problems})
    elif not problems:
        console.result(f"{files} files, {human(total)}: every checksum is right")
    if problems:
        raise BundleError(
            f"{len(problems)} of {files} files are damaged or missing",
            hint=mend,
            details=[f"{name}: {problem}" for name, problem in sorted(problems.items())],
        )


def _verify_store(key: str | None) -> tuple[int, int, dict[str, str]]:
    """Return number and bytes of the files of the bundles made here, and what is wrong."""
    from mammoctl import console
    from mammoctl.bundle import resolve
    from mammoctl.bundle.store import Store

    wanted = {file.sha256: file for bundle in resolve.recorded(key) for file in bundle.files}
    store, problems = Store(), {}
    total = sum(file.size for file in wanted.values())
    with console.progress(transfer=True) as bars:
        bar = bars.add_task("verifying", total=total)
        for file in wanted.values():
            if (problem := store.verify(file.sha256)) is not None:
                problems[file.name] = problem
            bars.advance(bar, file.size)
    return len(wanted), total, problems


@app.command()
def lock(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the locked versions where node.in allows them.")
    ] = False,
    inventory: Inventory = None,
) -> None:
    """Resolve the nodes' environments anew and write the locks (in a checkout only).

    What has no lock is refreshed by scripts/refresh-versions.

    With -i, the packages in python_extra_packages of that inventory are resolved together with
    the environment, whose versions stay, and the locks are written beside the inventory.
    """
    from mammoctl import console, paths
    from mammoctl.bundle import locks, relock
    from mammoctl.errors import UsageError

    if inventory is not None:
        _lock_extra(inventory)
        return
    if not paths.in_checkout():
        raise UsageError(
            "the locks belong to the project's source", hint="run this in a checkout of mammoctl"
        )
    written = relock.relock(locks.folder(), upgrade=not keep)
    console.result(f"{len(written)} locks in {locks.folder()}")


def _lock_extra(inventory: str) -> None:
    from mammoctl import console, sourcing
    from mammoctl import inventory as inventories
    from mammoctl.bundle import extra_locks
    from mammoctl.errors import UsageError

    cluster = inventories.load(inventory)
    packages = sourcing.packages(cluster, {})
    if not packages:
        raise UsageError(
            f"python_extra_packages is not set for {cluster.name}",
            hint='such as python_extra_packages: ["xgboost"] in group_vars/all.yml',
        )
    written = extra_locks.make(cluster.path / "locks", packages)
    console.result(f"{len(written)} locks with {', '.join(packages)} in {cluster.path / 'locks'}")


def register(root: typer.Typer) -> None:
    """Add ``mammoctl bundle`` to the command line."""
    root.add_typer(app, name="bundle")
