"""Pack what a job needs on the master: the application, the agent, its specification."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mammoctl.errors import JobError

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Application:
    """The application as it is shipped."""

    script: bytes
    archive: bytes

    @property
    def sha256(self) -> str:
        """Checksum of both files."""
        return hashlib.sha256(self.script + b"\0" + self.archive).hexdigest()


def read_application(root: Path) -> Application:
    """Pack the package ``mammotrain`` below ``root`` into a zip; same files, same bytes.

    Raises:
        JobError: the application is not there.
    """
    package = root / "mammotrain"
    files = sorted(
        path
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    )
    script = root / "train.py"
    if not files or not script.is_file():
        raise JobError(
            f"the training application is missing from {root}", hint="install mammoctl again"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            info = zipfile.ZipInfo(path.relative_to(root).as_posix(), _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, path.read_bytes())
    return Application(script.read_bytes(), buffer.getvalue())


def job_archive(
    application: Application, agent: bytes, spec: dict[str, Any], state: dict[str, Any]
) -> bytes:
    """Return the job's folder as a compressed tar archive."""
    files = {
        "agent.py": agent,
        "app/train.py": application.script,
        "app/mammotrain.zip": application.archive,
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
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o640
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
