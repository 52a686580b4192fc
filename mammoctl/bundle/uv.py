"""uv, the installer on the nodes: the binary out of the wheel of their architecture."""

from __future__ import annotations

import zipfile
from pathlib import Path

from mammoctl.bundle import fetch, versions
from mammoctl.bundle.locks import Pin
from mammoctl.bundle.model import Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store, Stored
from mammoctl.errors import BundleError

KIND = "uv"


def variants(target: Target) -> tuple[str, ...]:
    """Return the variants whose nodes need it: all."""
    return target.variants


def stored(store: Store, target: Target) -> Stored | None:
    """Return the binary, or None."""
    return store.derived(f"uv-{_pin(target.arch).sha256}")


def job(store: Store, target: Target) -> fetch.Job:
    """Return the job that fetches the wheel and takes the binary out of it."""
    pin = _pin(target.arch)
    download = fetch.wheel_job(store, [pin], target.python, target.arch)

    def work(folder: Path, runner: Runner) -> None:
        download.work(folder, runner)
        wheel = store.get(pin.sha256)
        if wheel is None:
            raise BundleError("uv's wheel vanished from the store")
        with zipfile.ZipFile(wheel.path) as archive:
            member = f"uv-{pin.version}.data/scripts/uv"
            binary = Path(archive.extract(member, folder / "done"))
        store.add_derived(f"uv-{pin.sha256}", binary)

    return fetch.Job(title=f"uv {pin.version}", size=pin.size, work=work)


def _pin(arch: str) -> Pin:
    uv = versions.load()["uv"]
    version = uv["default"]
    return Pin("uv", version, uv["sha256"][version][arch], f"uv-{version}-{arch}.whl", 25_000_000)
