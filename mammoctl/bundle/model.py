"""What a bundle is made for, what it consists of, and the record of it on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mammoctl.bundle import sources
from mammoctl.bundle.sources import Sources
from mammoctl.errors import UsageError

ARCHITECTURES = ("x86_64", "aarch64")
VARIANTS = ("cpu", "gpu")
SCHEMA = 1


@dataclass(frozen=True)
class Target:
    """The nodes that a bundle serves.

    Attributes:
        python: the minor version of the nodes' Python, such as ``3.11``.
        arch: ``x86_64`` or ``aarch64``, as ``uname -m`` says.
        variants: ``cpu``, ``gpu`` or both; which TensorFlow distribution the nodes get.
        sources: what the cluster chooses to be installed from.
    """

    python: str
    arch: str
    variants: tuple[str, ...] = ("cpu",)
    sources: Sources = field(default_factory=Sources)

    def __post_init__(self) -> None:
        variants = tuple(v for v in VARIANTS if v in self.variants)
        unknown = sorted(set(self.variants) - set(VARIANTS))
        if unknown or not variants:
            raise UsageError(
                f"unknown variant of the node environment: {', '.join(unknown) or 'none given'}",
                hint=f"choose from {', '.join(VARIANTS)}",
            )
        if self.arch not in ARCHITECTURES:
            raise UsageError(
                f"unsupported architecture of a node: {self.arch}",
                hint=f"choose from {', '.join(ARCHITECTURES)}",
            )
        object.__setattr__(self, "variants", variants)

    def __str__(self) -> str:
        managed = " (managed)" if self.sources.interpreter == "managed" else ""
        packages = f", packages of {'+'.join(named)}" if (named := self.sources.packages) else ""
        return f"Python {self.python}{managed}, {self.arch}, {'+'.join(self.variants)}{packages}"


@dataclass(frozen=True)
class Artifact:
    """One file of a bundle, as it lies in the store.

    Attributes:
        kind: ``requirements``, ``environment`` or the ``KIND`` of a part
            (:mod:`mammoctl.bundle.parts`).
        name: the file's name.
        sha256: its checksum in hexadecimal; also the name of its folder in the store.
        size: bytes.
        path: relative to the store: ``<sha256>/<name>``.
        variants: the variants whose nodes need the file.
        releases: the releases whose nodes need the file; empty for all.
    """

    kind: str
    name: str
    sha256: str
    size: int
    path: str
    variants: tuple[str, ...]
    releases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """Everything the nodes of a target need; all of its files are in the store.

    Attributes:
        key: 16 hexadecimal digits that name exactly this content.
        path: the bundle's record, ``bundle.json``.
        store: the root of the store that the files' paths are relative to.
        requirements: the requirements file per variant.
        files: all files, requirements files included.
    """

    key: str
    path: Path
    store: Path
    target: Target
    requirements: dict[str, Artifact]
    files: tuple[Artifact, ...]

    @property
    def size(self) -> int:
        """Return the sum of the files' sizes in bytes."""
        return sum(file.size for file in self.files)


def content_key(files: Sequence[Artifact]) -> str:
    """Return the key that names the content: the same files give the same key, in any order."""
    lines = sorted(" ".join(_identity(file)) + "\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def parse(data: dict[str, Any], path: Path) -> Bundle:
    """Return the bundle of a record.

    Raises:
        ValueError, KeyError, TypeError, UsageError: it is not one.
    """
    files = tuple(_file_from_json(file) for file in data["files"])
    by_sum = {file.sha256: file for file in files}
    return Bundle(
        key=data["key"],
        path=path,
        store=Path(data["store"]),
        target=_target_from_json(data["target"]),
        requirements={v: by_sum[r["sha256"]] for v, r in data["requirements"].items()},
        files=files,
    )


def _identity(file: Artifact) -> list[str]:
    parts = [file.kind, file.sha256, file.name, "+".join(file.variants)]
    return [*parts, "+".join(file.releases)] if file.releases else parts


def to_json(bundle: Bundle) -> dict[str, Any]:
    """Return the bundle's record as the playbooks read it."""
    from mammoctl import __version__

    return {
        "schema": SCHEMA,
        "key": bundle.key,
        "mammoctl": __version__,
        "target": _target_to_json(bundle.target),
        "store": str(bundle.store),
        "requirements": {
            variant: {"name": file.name, "sha256": file.sha256, "path": file.path}
            for variant, file in bundle.requirements.items()
        },
        "files": [_file_to_json(file) for file in bundle.files],
    }


def from_json(path: Path) -> Bundle:
    """Read a bundle's record.

    Raises:
        UsageError: there is no such record, or it is not one of this schema.
    """
    try:
        data = json.loads(path.read_text())
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}")
        return parse(data, path)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(
            f"cannot read the bundle's record {path}: {exc}", hint="run `mammoctl bundle create`"
        ) from exc


def _file_to_json(file: Artifact) -> dict[str, Any]:
    data = asdict(file) | {"variants": list(file.variants), "releases": list(file.releases)}
    if not file.releases:
        del data["releases"]
    return data


def _file_from_json(data: dict[str, Any]) -> Artifact:
    lists = {name: tuple(data.get(name, ())) for name in ("variants", "releases")}
    return Artifact(**(data | lists))


def _target_to_json(target: Target) -> dict[str, Any]:
    chosen = sources.to_json(target.sources)
    data = {"python": target.python, "arch": target.arch, "variants": list(target.variants)}
    return data | ({"sources": chosen} if chosen else {})


def _target_from_json(data: dict[str, Any]) -> Target:
    chosen = sources.from_json(data.get("sources", {}))
    return Target(data["python"], data["arch"], tuple(data["variants"]), chosen)
