"""What a cluster chooses to be installed from; the default everywhere needs no word about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Sources:
    """Choices that change what a bundle consists of.

    Attributes:
        interpreter: ``system`` (the nodes' own Python) or ``managed`` (one that the bundle brings).
        interpreter_sha256: the archive of a managed interpreter of the team's own; empty for the
            pinned one.
        sbt_repository: whether the bundle brings what sbt itself needs (``sbt_cache``).
        spark_sha512: the tarball that Spark comes from; empty for the engine inside ``pyspark``.
        spark_url: where that tarball is downloaded from; empty for a file of the control machine.
        python_locks: the folder of the locks with the team's own packages; empty for the project's.
        packages: the releases whose Debian packages the bundle brings, such as ``debian12``;
            ``hosts`` stands for those that the hosts turn out to run. Nodes of no release named
            take them from their own package sources.
        packages_extra: further Debian packages, beside those that the roles need.
        weights: the backbones whose published ImageNet weights the bundle brings to the control
            machine, for ``submit --weights imagenet``; nodes do not get them with the bundle.
    """

    interpreter: str = "system"
    interpreter_sha256: str = ""
    sbt_repository: bool = True
    spark_sha512: str = ""
    spark_url: str = ""
    python_locks: str = ""
    packages: tuple[str, ...] = ()
    packages_extra: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()


def to_json(sources: Sources) -> dict[str, Any]:
    """Return the choices that are not the default ones."""
    default = Sources()
    return {k: v for k, v in asdict(sources).items() if v != getattr(default, k)}


def from_json(data: Mapping[str, Any]) -> Sources:
    """Return the choices of a record; what it does not name is as by default.

    Raises:
        TypeError: it names something unknown.
    """
    lists = {f.name for f in fields(Sources) if isinstance(f.default, tuple)}
    given: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in data.items()}
    return Sources(**given)
