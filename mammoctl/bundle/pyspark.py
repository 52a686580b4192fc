"""Build PySpark's wheel, once: it is published as source only.

Building it here instead of on each node is the largest single saving of time in a cluster's life.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from mammoctl.bundle.clients import pip_argv
from mammoctl.bundle.fetch import Job, pip
from mammoctl.bundle.locks import Pin
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError

# Every file in the wheel gets this time (1980-01-01, the oldest that a zip can hold).
_EPOCH = "315532800"
_TOOLS = ("setuptools", "wheel")


def tools(pins: Sequence[Pin]) -> list[Pin]:
    """Return the pins of the build tools: those that the nodes get anyway, from the same lock."""
    return [pin for pin in pins if pin.name in _TOOLS]


def derivation(source: Pin, pins: Sequence[Pin]) -> str:
    """Return the name of what is built from ``source`` with the locked tools."""
    made_with = "-".join(pin.sha256[:16] for pin in tools(pins))
    return f"wheel-{source.sha256[:32]}-{made_with}"


def build_job(store: Store, source: Pin, pins: Sequence[Pin]) -> Job:
    """Return the job that downloads ``source`` and puts its wheel into the store."""

    def work(folder: Path, runner: Runner) -> None:
        # Unpacked rather than installed: pip gives them to the build through PYTHONPATH, and
        # nothing is fetched that is not pinned.
        path = folder / "tools"
        for tool in tools(pins):
            stored = store.get(tool.sha256)
            if stored is None:
                raise BundleError(f"{tool.file} must be in the store before {source.file}")
            with zipfile.ZipFile(stored.path) as wheel:
                wheel.extractall(path)
        argv = [*pip_argv(), "wheel", "--quiet", "--no-deps", "--no-cache-dir"]
        argv += ["--no-build-isolation"]
        argv += ["--use-pep517", "--require-hashes", "--no-binary", source.name]
        environment = {"PYTHONPATH": str(path), "SOURCE_DATE_EPOCH": _EPOCH}
        pip(argv, [source], folder, runner, environment)
        built = list((folder / "done").glob("*.whl"))
        if len(built) != 1:
            raise BundleError(f"building {source.file} gave {len(built)} wheels instead of one")
        store.add_derived(derivation(source, pins), built[0])

    return Job(title=f"{source.file} (built)", size=source.size, work=work)
