"""``mammoctl bundle``: what the nodes are installed from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mammoctl.bundle import Artifact, Bundle

app = typer.Typer(
    no_args_is_help=True,
    help="What the nodes are installed from: resolved and fetched once, then pushed over SSH.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Inventory = Annotated[
    str | None,
    typer.Option(
        "--inventory", "-i", metavar="NAME|PATH", help="For the choices of this inventory."
    ),
]
Key = Annotated[
    str | None, typer.Argument(metavar="[KEY]", help="A bundle, or the first digits of its key.")
]


def _parts(files: Iterable[Artifact]) -> dict[str, dict[str, int]]:
    """Return number and bytes of the files of each kind."""
    parts: dict[str, dict[str, int]] = {}
    for file in files:
        part = parts.setdefault(file.kind, {"files": 0, "bytes": 0})
        part["files"] += 1
        part["bytes"] += file.size
    return parts


def _summary(bundle: Bundle) -> dict[str, Any]:
    return {
        "key": bundle.key,
        "path": bundle.path,
        "store": bundle.store,
        "target": {
            "python": bundle.target.python,
            "arch": bundle.target.arch,
            "variants": list(bundle.target.variants),
        },
        "files": len(bundle.files),
        "bytes": bundle.size,
        "parts": _parts(bundle.files),
    }


def _show(bundle: Bundle) -> None:
    from mammoctl import console
    from mammoctl.bundle.store import human

    rows = [
        (kind, part["files"], human(part["bytes"]))
        for kind, part in sorted(_parts(bundle.files).items(), key=lambda p: -p[1]["bytes"])
    ]
    rows.append(("together", len(bundle.files), human(bundle.size)))
    console.table(f"Bundle {bundle.key}: {bundle.target}", ["part", "files", "size"], rows)


@app.command()
def create(
    *,
    python: Annotated[
        str | None,
        typer.Option("--python", help="The nodes' Python [3.11, or the managed one's]."),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="x86_64 or aarch64 [this machine's].")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", help="cpu or gpu; repeat it for a mixed cluster [cpu]."),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option("--runtime", help="system: the nodes' own Python; managed: one goes along."),
    ] = "system",
    interpreter: Annotated[
        Path | None,
        typer.Option("--interpreter", help="An archive with a managed Python of your own."),
    ] = None,
    inventory: Inventory = None,
    as_json: AsJson = False,
) -> None:
    """Resolve and fetch what nodes need, before they are there.

    `mammoctl provision` does it by itself for the nodes that it finds. Files that are there
    already are not fetched again; after an interruption run the same command again.
    """
    import platform

    from mammoctl import console, python_runtime, sourcing
    from mammoctl import inventory as inventories
    from mammoctl.bundle import Target, ensure_bundle

    if interpreter is not None:
        runtime = "managed"
    wanted, sources = python_runtime.Wish(runtime, interpreter), None
    if inventory is not None:
        cluster = inventories.load(inventory)
        sources = sourcing.sources(cluster, {})
        declared = python_runtime.wish(cluster, {})
        if runtime == "system" and declared.runtime == "managed":
            wanted = declared
    chosen, python = python_runtime.chosen(wanted, python, arch or platform.machine(), sources)
    target = Target(python, arch or platform.machine(), tuple(variant or ["cpu"]), chosen)
    started = time.monotonic()
    bundle = ensure_bundle(target)
    if as_json:
        console.result_json(_summary(bundle))
        return
    _show(bundle)
    console.note(f"{bundle.path} ({time.monotonic() - started:.1f} s)")


@app.command()
def show(*, key: Key = None, files: bool = False, as_json: AsJson = False) -> None:
    """List the bundles that were made here; with KEY, one bundle's parts and sizes."""
    from mammoctl import console
    from mammoctl.bundle import resolve
    from mammoctl.bundle.store import human

    found = resolve.recorded(key)
    if as_json:
        console.result_json([_summary(bundle) for bundle in found])
        return
    if key is None:
        rows = [(b.key, str(b.target), str(len(b.files)), human(b.size)) for b in found]
        console.table("Bundles", ["key", "nodes", "files", "size"], rows)
        return
    for bundle in found:
        _show(bundle)
        if files:
            rows = [(f.kind, f.name, human(f.size), f.sha256[:16]) for f in bundle.files]
            console.table("", ["part", "file", "size", "sha256"], rows)


@app.command()
def verify(*, key: Key = None, as_json: AsJson = False) -> None:
    """Compute the checksum of every file again; damaged files are removed.

    Exit code 1 when a file is damaged or missing: `mammoctl bundle create` fetches it again.
    """
    from mammoctl import console
    from mammoctl.bundle import resolve
    from mammoctl.bundle.store import Store, human
    from mammoctl.errors import BundleError

    wanted = {file.sha256: file for bundle in resolve.recorded(key) for file in bundle.files}
    store, problems, done = Store(), {}, 0
    total = sum(file.size for file in wanted.values())
    with console.progress(transfer=True) as bars:
        bar = bars.add_task("verifying", total=total)
        for file in wanted.values():
            if (problem := store.verify(file.sha256)) is not None:
                problems[file.name] = problem
            done += file.size
            bars.update(bar, completed=done)
    if as_json:
        console.result_json({"files": len(wanted), "bytes": total, "problems": problems})
    elif not problems:
        console.result(f"{len(wanted)} files, {human(total)}: every checksum is right")
    if problems:
        raise BundleError(
            f"{len(problems)} of {len(wanted)} files are damaged or missing",
            hint="fetch them again: mammoctl bundle create (or mammoctl provision)",
            details=[f"{name}: {problem}" for name, problem in sorted(problems.items())],
        )


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
