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
        return f"Python {self.python}{managed}, {self.arch}, {'+'.join(self.variants)}"


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
    """

    kind: str
    name: str
    sha256: str
    size: int
    path: str
    variants: tuple[str, ...]


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
    lines = sorted(f"{f.kind} {f.sha256} {f.name} {'+'.join(f.variants)}\n" for f in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def to_json(bundle: Bundle) -> dict[str, Any]:
    """Return the bundle's record as the playbooks read it."""
    from mammoctl import __version__

    return {
        "schema": 1,
        "key": bundle.key,
        "mammoctl": __version__,
        "target": _target_to_json(bundle.target),
        "store": str(bundle.store),
        "requirements": {
            variant: {"name": file.name, "sha256": file.sha256, "path": file.path}
            for variant, file in bundle.requirements.items()
        },
        "files": [asdict(file) | {"variants": list(file.variants)} for file in bundle.files],
    }


def from_json(path: Path) -> Bundle:
    """Read a bundle's record.

    Raises:
        UsageError: there is no such record, or it is not one of this schema.
    """
    try:
        data = json.loads(path.read_text())
        if data["schema"] != 1:
            raise ValueError(f"schema {data['schema']}")
        files = tuple(
            Artifact(**(file | {"variants": tuple(file["variants"])})) for file in data["files"]
        )
        by_sum = {file.sha256: file for file in files}
        return Bundle(
            key=data["key"],
            path=path,
            store=Path(data["store"]),
            target=_target_from_json(data["target"]),
            requirements={v: by_sum[r["sha256"]] for v, r in data["requirements"].items()},
            files=files,
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(
            f"cannot read the bundle's record {path}: {exc}", hint="run `mammoctl bundle create`"
        ) from exc


def _target_to_json(target: Target) -> dict[str, Any]:
    chosen = sources.to_json(target.sources)
    data = {"python": target.python, "arch": target.arch, "variants": list(target.variants)}
    return data | ({"sources": chosen} if chosen else {})


def _target_from_json(data: dict[str, Any]) -> Target:
    chosen = sources.from_json(data.get("sources", {}))
    return Target(data["python"], data["arch"], tuple(data["variants"]), chosen)
