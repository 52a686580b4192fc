"""A second real bundle: the first one with one small package at another version."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

from mammoctl.bundle.model import Artifact, Bundle, content_key, from_json, to_json
from mammoctl.bundle.store import Store, Stored, write_atomically


def another(record: Path, *, package: str = "six", suffix: str = ".post1") -> Bundle:
    """Record the bundle in which ``package`` has ``suffix`` at the end of its version.

    Args:
        record: the ``bundle.json`` of the first bundle.
        package: name of a pure Python package, as its wheel writes it.
        suffix: what its version gets.
    """
    first = from_json(record)
    store = Store(first.store)
    old = next(file for file in first.files if file.name.startswith(f"{package}-"))
    version = old.name.split("-")[1]
    with store.writing() as scratch:
        made_here = _renumbered(first.store / old.path, scratch, package, version, suffix)
        wheel = store.add(made_here)
    files = [file for file in first.files if file is not old and file.kind != "requirements"]
    files.append(_artifact("wheel", wheel, old.variants))
    requirements = {}
    for variant, listed in first.requirements.items():
        text = (first.store / listed.path).read_text()
        assert f"{package}=={version} --hash=sha256:{old.sha256}" in text
        text = text.replace(
            f"{package}=={version} --hash=sha256:{old.sha256}",
            f"{package}=={version}{suffix} --hash=sha256:{wheel.sha256}",
        )
        artifact = _artifact("requirements", store.add_text(text, listed.name), (variant,))
        requirements[variant] = artifact
        files.append(artifact)
    key = content_key(files)
    path = record.parents[1] / key / "bundle.json"
    made = replace(first, key=key, path=path, requirements=requirements, files=tuple(files))
    write_atomically(path, json.dumps(to_json(made), indent=1) + "\n")
    return made


def _renumbered(source: Path, folder: Path, package: str, old: str, suffix: str) -> Path:
    """Write the wheel again under another version: names, METADATA and RECORD."""
    new = old + suffix
    target = folder / source.name.replace(f"-{old}-", f"-{new}-", 1)
    lines = []
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for item in before.infolist():
            name = item.filename.replace(
                f"{package}-{old}.dist-info/", f"{package}-{new}.dist-info/"
            )
            if name.endswith(".dist-info/RECORD"):
                record = name
                continue
            data = before.read(item)
            if name.endswith(".dist-info/METADATA"):
                data = data.replace(f"\nVersion: {old}\n".encode(), f"\nVersion: {new}\n".encode())
                assert f"\nVersion: {new}\n".encode() in data
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(data)}\n")
            after.writestr(zipfile.ZipInfo(name), data)
        after.writestr(zipfile.ZipInfo(record), "".join([*lines, f"{record},,\n"]))
    return target


def _artifact(kind: str, stored: Stored, variants: tuple[str, ...]) -> Artifact:
    return Artifact(kind, stored.name, stored.sha256, stored.size, stored.relative, variants)
