"""Locks of one cluster: the project's environment resolved together with a team's own packages.

They lie beside the inventory, in ``locks/``. Everything that the project locks keeps its version:
what the team adds must agree with it, or there is no lock.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mammoctl import console
from mammoctl.bundle import locks, relock
from mammoctl.errors import BundleError, UsageError

ABOUT = "extra.json"
_HINT = "run `mammoctl bundle lock -i NAME` for this inventory"


def make(folder: Path, packages: Sequence[str]) -> list[Path]:
    """Write a cluster's locks; return their paths.

    A target for which there is no such environment (a package without a wheel for arm64, say) is
    left out with a warning.

    Args:
        folder: where to; made when it is not there.
        packages: the team's own requirements.

    Raises:
        BundleError: there is no such environment for any target.
    """
    base = locks.folder()
    direct = (
        (base / "node.in").read_text().rstrip("\n") + "\n" + "".join(f"{p}\n" for p in packages)
    )
    files: dict[str, dict[str, Any]] = json.loads((base / locks.FILES).read_text())
    texts: dict[str, str] = {}
    problems: list[BundleError] = []
    with tempfile.TemporaryDirectory() as scratch:
        for target in relock.targets():
            console.note(f"resolving Python {', '.join(target)}")
            name = locks.lock_name(*target)
            fixed = {m[1]: m[2] for m in relock.pins_of((base / name).read_text())}
            try:
                found = relock.resolve(direct, target, fixed, files, Path(scratch))
            except BundleError as exc:
                console.warn(f"no lock for Python {', '.join(target)}: {exc.message}")
                problems.append(exc)
                continue
            files |= found.files
            texts[name] = found.lock
    if not texts:
        raise BundleError(
            f"{', '.join(packages)} cannot be resolved together with the nodes' environment",
            hint="a package must be there as a wheel, and agree with the versions in locks/",
            details=problems[0].details,
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("node-py*.txt"):
        old.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text)
    named = {m for text in texts.values() for m in files if m in text}
    relock.write_files(folder / locks.FILES, {s: files[s] for s in files if s in named})
    about = {"packages": list(packages), "base": {name: _sum(base / name) for name in texts}}
    (folder / ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    return [folder / name for name in texts]


def require_current(folder: Path, packages: Sequence[str]) -> None:
    """Check that a cluster's locks are for these packages and for the project's present locks.

    Raises:
        UsageError: they are not, or there are none.
    """
    path = folder / ABOUT
    try:
        about = json.loads(path.read_text())
        made_for, base = list(about["packages"]), dict(about["base"])
    except FileNotFoundError:
        raise UsageError(
            f"python_extra_packages is set, and there are no locks in {folder}", hint=_HINT
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"cannot read {path}: {exc}", hint=_HINT) from exc
    if made_for != list(packages):
        raise UsageError(
            f"the locks in {folder} are for {', '.join(made_for) or 'no packages'}, "
            f"the inventory wants {', '.join(packages)}",
            hint=_HINT,
        )
    for name, sum_then in base.items():
        if not (locks.folder() / name).is_file() or _sum(locks.folder() / name) != sum_then:
            raise UsageError(
                f"the locks in {folder} were made for another version of mammoctl", hint=_HINT
            )


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
