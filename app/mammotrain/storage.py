"""Files at URIs, through Hadoop's FileSystem: whatever Spark can read, this can."""

from __future__ import annotations

import re
import tempfile
import uuid
from pathlib import Path
from typing import Any

from mammotrain.errors import TrainError

BEFORE = ".before"  # the file that is being replaced


def has_scheme(uri: str) -> bool:
    """Return whether an address names its file system (`hdfs:`, `file:`)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri) is not None


class Storage:
    """Reads and writes whole files at URIs; works on after the Spark session has been stopped.

    Args:
        spark: the session, whose Hadoop configuration is used.
    """

    def __init__(self, spark: Any) -> None:
        context = spark.sparkContext
        self._jvm = context._jvm
        self._conf = context._jsc.hadoopConfiguration()

    def _path(self, uri: str) -> tuple[Any, Any]:
        path = self._jvm.org.apache.hadoop.fs.Path(uri)
        return path.getFileSystem(self._conf), path

    def read_text(self, uri: str, limit: int = 1 << 20) -> str | None:
        """Return a small UTF-8 file, or None if it is not there or larger than `limit` bytes."""
        system, path = self._path(uri)
        if not system.exists(path) or system.getFileStatus(path).getLen() > limit:
            return None
        stream = system.open(path)
        try:
            return str(self._jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8"))
        finally:
            stream.close()

    def read_bytes(self, uri: str) -> bytes | None:
        """Return a file of a few megabytes, or None if it is not there."""
        found = [one for one in (uri, uri + BEFORE) if self.exists(one)]
        if not found:
            return None
        system, path = self._path(found[0])
        with tempfile.TemporaryDirectory(prefix="mammotrain-") as folder:
            local = Path(folder) / "file"
            target = self._jvm.org.apache.hadoop.fs.Path(local.as_uri())
            system.copyToLocalFile(False, path, target, True)
            return local.read_bytes()

    def write_bytes(self, uri: str, data: bytes) -> None:
        """Write a file, which appears or is replaced whole; `read_bytes` finds one at any moment.

        No rename replaces a file on every file system, so that the old one steps aside.

        Raises:
            TrainError: it could not be written.
        """
        from py4j.protocol import Py4JJavaError

        system, path = self._path(uri)
        waiting = self._jvm.org.apache.hadoop.fs.Path(f"{uri}.{uuid.uuid4().hex}.part")
        try:
            with tempfile.TemporaryDirectory(prefix="mammotrain-") as folder:
                local = Path(folder) / "file"
                local.write_bytes(data)
                system.mkdirs(path.getParent())
                source = self._jvm.org.apache.hadoop.fs.Path(local.as_uri())
                system.copyFromLocalFile(source, waiting)
            aside = self._jvm.org.apache.hadoop.fs.Path(uri + BEFORE)
            if system.exists(path):
                system.delete(aside, False)
                system.rename(path, aside)
            if not system.rename(waiting, path):
                raise TrainError("a checkpoint cannot be written to the --features address")
            system.delete(aside, False)
        except Py4JJavaError as error:
            cause = error.java_exception.getClass().getSimpleName()
            raise TrainError(f"a checkpoint could not be written ({cause})") from error

    def remove(self, uri: str) -> None:
        """Remove a file that `write_bytes` has written; one that is not there is no error."""
        for one in (uri, uri + BEFORE):
            system, path = self._path(one)
            system.delete(path, False)

    def exists(self, uri: str) -> bool:
        """Return whether there is anything at `uri`."""
        system, path = self._path(uri)
        return bool(system.exists(path))

    def qualified(self, uri: str) -> str:
        """Return an address as Spark writes it: absolute, with its scheme."""
        system, path = self._path(uri)
        return str(path.makeQualified(system.getUri(), system.getWorkingDirectory()).toString())

    def publish(self, folder: Path, uri: str) -> None:
        """Copy the files of a local folder to `uri`, which appears whole or not at all.

        Raises:
            TrainError: it could not be written.
        """
        from py4j.protocol import Py4JJavaError

        system, target = self._path(uri)
        waiting = self._jvm.org.apache.hadoop.fs.Path(f"{uri.rstrip('/')}.{uuid.uuid4().hex}.part")
        try:
            if not system.mkdirs(waiting):
                raise TrainError("the --publish address cannot be written")
            for file in sorted(folder.iterdir()):
                if file.is_file() and not file.name.startswith("."):
                    source = self._jvm.org.apache.hadoop.fs.Path(file.resolve().as_uri())
                    system.copyFromLocalFile(source, waiting)
            if system.exists(target):
                system.delete(target, True)
            elif target.getParent() is not None:
                system.mkdirs(target.getParent())
            if not system.rename(waiting, target):
                raise TrainError("the --publish address cannot be written")
        except Py4JJavaError as error:
            cause = error.java_exception.getClass().getSimpleName()
            raise TrainError(f"the results could not be published ({cause})") from error
