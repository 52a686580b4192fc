"""The nodes' Python environment: installed and compiled here once, packed, unpacked on every node.

Installing the wheels on each node instead would cost each of them the time that it costs here, and
most of that time is compiling: the bytecode is the same on all of them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from mammoctl.bundle.clients import uv_binary
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.relock import uv_platform
from mammoctl.bundle.store import Store, Stored
from mammoctl.errors import BundleError

KIND = "environment"

# Where the nodes have it; scripts in it start with the interpreter there.
ROOT = "/opt/mammoctl/env"
# Part of the name of what is packed: another number for another way of packing.
_FORMAT = 1
# Every packed file gets this time (1980-01-01, the oldest that a zip can hold): bytecode names the
# time of its source, and the same wheels give the same archive.
_EPOCH = 315532800
# What the unpacked environment and its archive take together, as a multiple of the wheels.
SPACE = 4


def stored(store: Store, target: Target, requirements: Stored) -> Stored | None:
    """Return the packed environment of a requirements file, or None."""
    return store.derived(_key(target, requirements))


def job(
    store: Store, target: Target, variant: str, requirements: Stored, wheels: Sequence[Stored]
) -> Job:
    """Return the job that installs ``wheels`` and packs the result into the store.

    Args:
        store: where the wheels are, and where the archive goes.
        target: the nodes' Python and architecture; this machine may have others.
        variant: ``cpu`` or ``gpu``; part of the archive's name.
        requirements: the hashed requirements; exactly the wheels.
        wheels: one per requirement.
    """
    name = f"environment-py{target.python}-{target.arch}-{variant}"

    def work(folder: Path, runner: Runner) -> None:
        tree = folder / "tree"
        site = tree / "lib" / f"python{target.python}" / "site-packages"
        links = folder / "links"
        links.mkdir()
        for wheel in wheels:
            (links / wheel.name).symlink_to(wheel.path)
        _install(target, requirements, links, site, runner)
        shutil.rmtree(folder / "uv-cache", ignore_errors=True)
        if (site / "bin").is_dir():
            (site / "bin").rename(tree / "bin")
            _set_interpreter(tree / "bin")
        _drop_traces(site)
        _set_times(tree)
        _compile(target.python, tree, runner)
        archive = folder / f"{name}.tar.zst"
        _pack(tree, archive)
        shutil.rmtree(tree)
        store.add_derived(_key(target, requirements), archive)

    return Job(title=name, size=0, work=work)


def _key(target: Target, requirements: Stored) -> str:
    return f"environment-{_FORMAT}-{target.python}-{target.arch}-{requirements.sha256[:32]}"


def _install(target: Target, requirements: Stored, links: Path, site: Path, runner: Runner) -> None:
    argv = [uv_binary(), "pip", "install", "--quiet", "--target", str(site)]
    argv += ["--python", sys.executable]
    argv += ["--python-version", target.python, "--python-platform", uv_platform(target.arch)]
    argv += ["--no-index", "--find-links", str(links), "--no-deps", "--require-hashes"]
    code, output = runner.run(
        [*argv, "--requirement", str(requirements.path)], env=_uv_environment(links.parent)
    )
    if code:
        raise BundleError(
            "the nodes' Python environment cannot be made from its wheels",
            hint="run `mammoctl bundle verify`, then the same command again",
            details=output.strip().splitlines()[-8:],
        )


def _uv_environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    return kept | {
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "UV_OFFLINE": "1",
        "UV_NO_PROGRESS": "1",
        "UV_LINK_MODE": "hardlink",
        "UV_PYTHON_DOWNLOADS": "never",
    }


def _drop_traces(site: Path) -> None:
    """Remove what uv notes of this run: the rest is the same for the same wheels."""
    (site / ".lock").unlink(missing_ok=True)
    for note in site.glob("*.dist-info/uv_cache.json"):
        note.unlink()
        record = note.with_name("RECORD")
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        name = note.relative_to(site).as_posix()
        kept = [line for line in lines if not line.startswith(f"{name},")]
        record.write_text("".join(kept), encoding="utf-8")


def _set_interpreter(scripts: Path) -> None:
    """Let scripts that name an interpreter of this machine name the nodes'."""
    for path in scripts.iterdir():
        text = path.read_bytes()
        first, _, rest = text.partition(b"\n")
        if not first.startswith(b"#!"):
            continue
        shebang = f"#!{ROOT}/bin/python".encode()
        if first == b"#!/bin/sh" and rest.startswith(b"'''exec'"):
            # The form for paths that are too long for a first line: two further lines.
            _, _, rest = rest.partition(b"\n' '''\n")
        elif b"python" not in first:
            continue
        path.write_bytes(shebang + b"\n" + rest)


def _set_times(tree: Path) -> None:
    for parent, _, names in os.walk(tree):
        for name in names:
            os.utime(Path(parent, name), (_EPOCH, _EPOCH), follow_symlinks=False)


def _compile(python: str, tree: Path, runner: Runner) -> None:
    """Compile the modules, where this machine has the nodes' Python; else each node does it.

    Some packages carry files for other versions of Python, hence no look at the exit status.
    """
    if program := _find(python, tree.parent, runner):
        argv = [program, "-m", "compileall", "-q", "-j", "0", "-x", "/tests?/"]
        argv += ["-s", str(tree), "-p", ROOT, str(tree / "lib")]
        # The order of sets in bytecode depends on it.
        runner.run(argv, env={"PATH": os.defpath, "PYTHONHASHSEED": "0"})


def _find(python: str, folder: Path, runner: Runner) -> str | None:
    """Return an interpreter of this minor version on this machine, if there is one."""
    argv = [uv_binary(), "python", "find", "--no-project", "--system", python]
    code, output = runner.run(argv, env=_uv_environment(folder))
    return output.strip() if code == 0 else None


def _pack(tree: Path, archive: Path) -> None:
    """Write the tree as a tar archive under Zstandard; all of it belongs to root."""
    from pyarrow import CompressedOutputStream, OSFile

    def plain(item: tarfile.TarInfo) -> tarfile.TarInfo:
        item.uid = item.gid = 0
        item.uname = item.gname = ""
        item.mtime = _EPOCH
        item.mode = 0o755 if item.isdir() or item.mode & 0o100 else 0o644
        return item

    with (
        OSFile(str(archive), "wb") as raw,
        CompressedOutputStream(raw, "zstd") as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(tree.iterdir()):
            tar.add(path, arcname=path.name, filter=plain)
