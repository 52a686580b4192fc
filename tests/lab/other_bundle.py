"""A second real bundle: the first one with one small package at another version."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

from mammoctl.bundle import environment
from mammoctl.bundle.model import Artifact, Bundle, content_key, from_json, to_json
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store, Stored


def another(record: Path, *, package: str = "six", suffix: str = ".post1") -> Bundle:
    """Record the bundle in which ``package`` has ``suffix`` at the end of its version.

    Args:
        record: the ``bundle.json`` of the first bundle.
        package: name of a pure Python package, as its wheel writes it.
        suffix: what its version gets.
    """
    first = from_json(record)
    store = Store(first.store)
    files = [file for file in first.files if file.kind not in ("requirements", "environment")]
    requirements = {}
    with store.writing() as scratch:
        for variant, listed in first.requirements.items():
            text = (first.store / listed.path).read_text()
            wheels = [store.get(sha256) for sha256 in re.findall(r"sha256:([0-9a-f]{64})", text)]
            there = [wheel for wheel in wheels if wheel is not None]
            assert len(there) == len(wheels)
            old = next(wheel for wheel in there if wheel.name.startswith(f"{package}-"))
            version = old.name.split("-")[1]
            wheel = store.add(_renumbered(old.path, scratch, package, version, suffix))
            line = f"{package}=={version} --hash=sha256:{old.sha256}"
            assert line in text
            text = text.replace(line, f"{package}=={version}{suffix} --hash=sha256:{wheel.sha256}")
            pinned = store.add_text(text, listed.name)
            instead = [wheel if each is old else each for each in there]
            folder = scratch / variant
            folder.mkdir()
            job = environment.job(store, first.target, variant, pinned, instead)
            job.work(folder, Runner())
            packed = environment.stored(store, first.target, pinned)
            assert packed is not None
            requirements[variant] = _artifact("requirements", pinned, (variant,))
            files.append(requirements[variant])
            files.append(_artifact(environment.KIND, packed, (variant,)))
    key = content_key(files)
    path = record.parents[1] / key / "bundle.json"
    made = replace(first, key=key, path=path, requirements=requirements, files=tuple(files))
    files.write(path, json.dumps(to_json(made), indent=1) + "\n")
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
