"""Pack what a job needs on the master: its program, the agent, its specification."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mammoctl
from mammoctl.errors import JobError

AGENT = "agent.pyz"

SCRIPTS = ("train.py", "predict.py", "explore.py")
"""Of the application: what `spark-submit` is given, one for each kind of job."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_AGENT_MAIN = b"import sys\n\nfrom mammoctl.jobs.remote.agent import program\n\nprogram()\n"


@dataclass(frozen=True, slots=True)
class Shipment:
    """Files for the folder ``app`` of a job, by their names."""

    files: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        """Checksum of all of them."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files by their names in it; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def read_tree(folder: Path, prefix: str = "") -> dict[str, bytes]:
    """Return the files below a folder; hidden ones and compiled ones stay behind."""
    return {
        f"{prefix}{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(
            part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts
        )
    }


def read_application(root: Path) -> Shipment:
    """Pack the package ``mammotrain`` below ``root`` into a zip, beside the scripts that start it.

    Raises:
        JobError: the application is not there.
    """
    package, scripts = root / "mammotrain", [root / name for name in SCRIPTS]
    files = read_tree(package, "mammotrain/") if package.is_dir() else {}
    if not files or not all(script.is_file() for script in scripts):
        raise JobError(
            f"the training application is missing from {root}", hint="install mammoctl again"
        )
    started = {script.name: script.read_bytes() for script in scripts}
    return Shipment({**started, "mammotrain.zip": zipped(files)})


def agent() -> bytes:
    """Return the agent as a zip that Python runs."""
    root = Path(mammoctl.__file__).parent
    remote = root / "jobs" / "remote"
    files = {
        "__main__.py": _AGENT_MAIN,
        "mammoctl/__init__.py": b"",
        "mammoctl/jobs/__init__.py": b"",
        **{f"mammoctl/jobs/remote/{path.name}": path.read_bytes() for path in remote.glob("*.py")},
    }
    return zipped(files)


def job_archive(
    shipment: Shipment,
    spec: dict[str, Any],
    state: dict[str, Any],
    secret: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return the job's folder as a compressed tar archive.

    Args:
        shipment: what it runs.
        spec: its specification.
        state: its record.
        secret: further files that nobody but the job's account may read.
    """
    files = {
        AGENT: agent(),
        **{f"app/{name}": content for name, content in shipment.files.items()},
        "spec.json": _json(spec),
        "state.json": _json(state),
        "job.log": b"",
        "progress.jsonl": b"",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("app", "home", "results"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o750
            archive.addfile(info)
        for mode, part in ((0o640, files), (0o600, secret or {})):
            for name, content in part.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), mode
                archive.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def spec_archive(spec: dict[str, Any]) -> bytes:
    """Return the specification alone, with the newest agent, for a job that is resumed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in {AGENT: agent(), "spec.json": _json(spec)}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o640
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
