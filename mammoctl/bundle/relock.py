"""Make the nodes' locks anew: resolve each target with uv and pin exactly one file per package.

The versions are resolved once and hold for every target; targets differ in nothing but
TensorFlow's distribution and the CUDA wheels.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from mammoctl import console
from mammoctl.bundle import locks, versions
from mammoctl.bundle.clients import client_error, uv_binary
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError

# The oldest C library among the supported releases is Ubuntu 22.04's 2.35; the newest name that
# uv and pip both know below it.
_GLIBC = 34
_TENSORFLOW = {
    ("x86_64", "cpu"): "tensorflow-cpu",
    ("aarch64", "cpu"): "tensorflow",
    ("x86_64", "gpu"): "tensorflow[and-cuda]",
}


def platforms(arch: str) -> list[str]:
    """Return the platform tags that every supported release accepts, newest first."""
    newer = [f"manylinux_2_{minor}_{arch}" for minor in range(_GLIBC, 4, -1)]
    return [*newer, *(f"manylinux{old}_{arch}" for old in ("2014", "2010", "1"))]


def uv_platform(arch: str) -> str:
    """Return what uv calls the platform of every supported release on ``arch``."""
    return f"{arch}-manylinux_2_{_GLIBC}"


def tags(python: str, arch: str) -> list[Tag]:
    """Return the wheel tags that CPython ``python`` on ``arch`` accepts, best first."""
    version = tuple(int(part) for part in python.split("."))
    names = platforms(arch)
    interpreter = f"cp{''.join(python.split('.'))}"
    return [
        *cpython_tags(python_version=version, platforms=names),
        *compatible_tags(python_version=version, interpreter=interpreter, platforms=names),
    ]


def ranks(python: str, arch: str) -> dict[Tag, int]:
    """Return the position of each accepted tag, the best first."""
    return {tag: rank for rank, tag in reversed(list(enumerate(tags(python, arch))))}


def choose(package: dict[str, Any], ranking: dict[Tag, int]) -> tuple[str, dict[str, Any]]:
    """Return name and entry of the one file of ``package`` to pin: the best wheel, or the source.

    Args:
        package: a package of a ``pylock.toml``.
        ranking: position of each accepted tag, best first.

    Raises:
        BundleError: no file fits.
    """
    best: tuple[int, str, dict[str, Any]] | None = None
    for wheel in package.get("wheels", []):
        name = _file_name(wheel)
        rank = min((ranking[t] for t in parse_wheel_filename(name)[3] if t in ranking), default=-1)
        if rank >= 0 and (best is None or rank < best[0]):
            best = (rank, name, wheel)
    if best is not None:
        return best[1], best[2]
    if "sdist" in package and not package.get("wheels"):
        return _file_name(package["sdist"]), package["sdist"]
    raise BundleError(f"{package['name']} {package['version']} has no file for this target")


def _file_name(entry: dict[str, Any]) -> str:
    name = entry.get("name") or str(entry.get("url", entry.get("path"))).split("#")[0]
    return str(name).rsplit("/", 1)[-1]


def _compile(
    source: Path, python: str, arch: str, constraints: Path | None, folder: Path
) -> list[dict[str, Any]]:
    output = folder / "pylock.target.toml"
    output.unlink(missing_ok=True)
    argv = [uv_binary(), "pip", "compile", "--quiet", "--no-config", "--format", "pylock.toml"]
    argv += ["--python-platform", uv_platform(arch), "--python-version", python]
    argv += ["--generate-hashes", "--no-annotate", "--no-header", "--output-file", str(output)]
    # Only PySpark is published as source alone; anything else must come as a wheel.
    argv += ["--only-binary", ":all:", "--no-binary", "pyspark"]
    if constraints is not None:
        argv += ["--constraints", str(constraints)]
    done = subprocess.run([*argv, str(source)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise client_error(f"resolve the environment of Python {python} on {arch}", done.stderr)
    packages: list[dict[str, Any]] = tomllib.loads(output.read_text())["packages"]
    return packages


@dataclass
class Resolution:
    """One environment, resolved.

    Attributes:
        lock: the lock's text.
        files: name and, where it is known, size of each file by its sha256.
        versions: the version of each package.
    """

    lock: str
    files: dict[str, dict[str, Any]]
    versions: dict[str, str]


def resolve(
    direct: str,
    target: tuple[str, str, str],
    constraints: Mapping[str, str],
    sizes: Mapping[str, Mapping[str, Any]],
    scratch: Path,
) -> Resolution:
    """Resolve an environment for one target and choose one file for each of its packages.

    Args:
        direct: what is asked for, as in ``node.in``.
        target: minor version of Python, architecture, variant.
        constraints: versions that packages must have if they are there at all.
        sizes: files whose size is known already, by their sha256.
        scratch: a folder for the run.

    Raises:
        BundleError: it cannot be resolved, or a package has no file for the target.
    """
    python, arch, variant = target
    source, given = scratch / "node.in", scratch / "constraints.txt"
    source.write_text(re.sub(r"(?m)^tensorflow(?===)", _TENSORFLOW[arch, variant], direct))
    given.write_text("".join(f"{n}=={v}\n" for n, v in sorted(constraints.items())))
    packages = _compile(source, python, arch, given if constraints else None, scratch)
    ranking = ranks(python, arch)
    found = Resolution("", {}, {})
    for package in sorted(packages, key=lambda p: str(p["name"])):
        file, entry = choose(package, ranking)
        sha256 = entry["hashes"]["sha256"]
        size = entry.get("size") or sizes.get(sha256, {}).get("size") or _size(sha256)
        found.files[sha256] = {"name": file} | ({"size": size} if size else {})
        found.versions[package["name"]] = package["version"]
        found.lock += f"{package['name']}=={package['version']} \\\n    --hash=sha256:{sha256}\n"
    return found


def targets() -> Iterator[tuple[str, str, str]]:
    """Return each Python, architecture and variant that has a lock."""
    for python in versions.python_minors():
        for arch, variant in _TENSORFLOW:
            yield python, arch, variant


def write_files(listing: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the list of the files that locks name."""
    ordered = sorted(files.items(), key=lambda item: (item[1]["name"], item[0]))
    listing.write_text(json.dumps(dict(ordered), indent=1) + "\n")


def relock(folder: Path, *, upgrade: bool = True) -> list[Path]:
    """Write all locks and the list of their files into ``folder``; return the locks' paths.

    Args:
        folder: where ``node.in`` lies.
        upgrade: take the newest versions that ``node.in`` allows rather than those now locked.

    Raises:
        BundleError: a target cannot be resolved, or a package has no file for it.
    """
    direct = (folder / "node.in").read_text()
    listing = folder / locks.FILES
    sizes = json.loads(listing.read_text()) if listing.is_file() else {}
    files: dict[str, dict[str, Any]] = {}
    texts: dict[Path, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        have = sorted(folder.glob("node-py*.txt"))
        common = {} if upgrade else {m[1]: m[2] for p in have for m in pins_of(p.read_text())}
        for target in targets():
            console.note(f"resolving Python {', '.join(target)}")
            found = resolve(direct, target, common, sizes, Path(scratch))
            files |= found.files
            common = found.versions | common
            texts[folder / locks.lock_name(*target)] = found.lock
    for path in set(have) - set(texts):
        path.unlink()
    for path, text in texts.items():
        path.write_text(text)
    write_files(listing, files)
    return list(texts)


def _size(sha256: str) -> int:
    """Return the size of a file that the store has; for an index that tells no sizes."""
    stored = Store().get(sha256)
    return stored.size if stored else 0


def pins_of(text: str) -> Iterator[re.Match[str]]:
    """Return name and version (groups 1 and 2) of each pin of a lock."""
    return re.finditer(r"(?m)^([a-z0-9-]+)==(\S+)", text)
