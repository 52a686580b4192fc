"""Whose Python a cluster runs on: the hosts' own where it will do, else a managed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl.bundle.sources import Sources
from mammoctl.errors import UsageError

if TYPE_CHECKING:
    from mammoctl.bundle.interpreter import Interpreter
    from mammoctl.inventory import Cluster

RUNTIMES = ("auto", "system", "managed")


@dataclass(frozen=True)
class Wish:
    """What the inventory or ``-e`` says.

    Attributes:
        runtime: ``auto``, ``system`` or ``managed``.
        archive: an own archive of a managed interpreter on this machine; None for the pinned one.
    """

    runtime: str = "auto"
    archive: Path | None = None


def wish(cluster: Cluster, extra: Mapping[str, Any]) -> Wish:
    """Read ``python_runtime`` and ``python_archive``; ``-e`` wins over the inventory.

    A relative path is one from the inventory's folder.

    Raises:
        UsageError: a value is none of those known, or hosts differ.
    """
    runtime = _one(cluster, extra, "python_runtime") or "auto"
    if runtime not in RUNTIMES:
        raise UsageError(
            f"python_runtime is {runtime!r}", hint=f"choose from {', '.join(RUNTIMES)}"
        )
    archive = _one(cluster, extra, "python_archive")
    return Wish(runtime, cluster.path / Path(archive).expanduser() if archive else None)


def _one(cluster: Cluster, extra: Mapping[str, Any], name: str) -> str:
    if name in extra:
        return str(extra[name] or "")
    values = {str(host.vars.get(name) or "") for host in cluster.hosts.values()}
    if len(values) > 1:
        raise UsageError(
            f"{name} differs between hosts: {', '.join(sorted(v or 'not set' for v in values))}",
            hint="set it once for all, in group_vars/all.yml of the inventory",
        )
    return values.pop()


def managed(wanted: Wish) -> Interpreter:
    """Return the managed interpreter of the cluster; an own archive enters the store.

    Raises:
        UsageError: there is no such archive, or it will not do.
    """
    from mammoctl.bundle import interpreter
    from mammoctl.bundle.store import Store

    if wanted.archive is None:
        return interpreter.pinned()
    return interpreter.adopt(Store(), wanted.archive)


def chosen(
    wanted: Wish, python: str | None, arch: str, sources: Sources | None = None
) -> tuple[Sources, str]:
    """Return what a bundle that is made before its nodes are there consists of, and its Python.

    Args:
        wanted: ``system`` or ``managed``, and an own archive.
        python: the minor version that the user named; None for 3.11, or the managed one's.
        arch: the nodes' architecture.
        sources: what else is chosen.

    Raises:
        UsageError: the runtime is not known before the nodes are, or the archive does not fit.
    """
    sources = sources or Sources()
    if wanted.runtime == "system":
        return sources, python or "3.11"
    if wanted.runtime != "managed":
        raise UsageError(f"--runtime is {wanted.runtime!r}", hint="choose system or managed")
    brought = managed(wanted)
    if (python or brought.python) != brought.python or arch not in brought.arch:
        raise UsageError(
            f"the managed Python is {brought.python} for {', '.join(brought.arch)}, "
            f"not {python or brought.python} for {arch}",
            hint="leave --python and --arch out, or give another archive with --interpreter",
        )
    sources = replace(sources, interpreter="managed", interpreter_sha256=brought.sha256)
    return sources, brought.python
