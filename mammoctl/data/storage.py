"""The cluster's storage as seen through its master: HDFS, or a folder that the nodes share."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from mammoctl.data.sending import Sending
from mammoctl.errors import RemoteError
from mammoctl.jobs.account import account

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes, Result

HDFS = "/opt/mammoctl/bin/hdfs"


class Storage:
    """Files on the cluster's storage, named by URIs; read and written on the master."""

    def __init__(self, nodes: Nodes, deployment: ClusterFile) -> None:
        self._nodes = nodes
        self._master = nodes.cluster.master.name
        self.user = account(nodes)
        self.hdfs = deployment.storage.kind == "hdfs"
        self.paths = deployment.paths

    # --- lines of sh, for use alone or together ------------------------------------------------

    def path(self, uri: str) -> str:
        """Return a URI or path as one word of sh."""
        return shlex.quote(uri if self.hdfs else urlsplit(uri).path)

    def list_line(self, uri: str) -> str:
        """List the names in a folder, one a line, possibly with their folders."""
        return f"{HDFS} dfs -ls -C {self.path(uri)}" if self.hdfs else f"ls -1A {self.path(uri)}"

    def cat_line(self, *uris: str) -> str:
        """Write files to standard output."""
        words = " ".join(self.path(uri) for uri in uris)
        return f"{HDFS} dfs -cat {words}" if self.hdfs else f"cat -- {words}"

    def put_line(self, uri: str) -> str:
        """Write standard input to a new file."""
        return f"{HDFS} dfs -put - {self.path(uri)}" if self.hdfs else f"cat > {self.path(uri)}"

    def receive_line(self, uri: str) -> str:
        """Write standard input to a new file and print the sha256 of what came in."""
        line = f"tee -- {self.path(uri)}"
        if self.hdfs:
            line = f"{{ tee /dev/fd/3 | {self.put_line(uri)} >&2; }} 3>&1"
        return f"bash -o pipefail -c {shlex.quote(f'{line} | sha256sum')}"

    def mkdir_line(self, uri: str) -> str:
        """Make a folder and those above it."""
        return (
            f"{HDFS} dfs -mkdir -p {self.path(uri)}" if self.hdfs else f"mkdir -p {self.path(uri)}"
        )

    def remove_line(self, *uris: str) -> str:
        """Remove folders with all in them."""
        words = " ".join(self.path(uri) for uri in uris)
        return f"{HDFS} dfs -rm -r -f -skipTrash {words}" if self.hdfs else f"rm -rf -- {words}"

    def move_line(self, source: str, target: str) -> str:
        """Rename; the target does not exist."""
        verb = f"{HDFS} dfs -mv" if self.hdfs else "mv -T --"
        return f"{verb} {self.path(source)} {self.path(target)}"

    def copy_line(self, source: str, target: str) -> str:
        """Copy a file within the storage."""
        verb = f"{HDFS} dfs -cp" if self.hdfs else "cp --"
        return f"{verb} {self.path(source)} {self.path(target)}"

    # --- what is done with them ----------------------------------------------------------------

    def run(self, line: str, *, check: bool = True, missing: bool = False) -> Result:
        """Run lines of sh on the master.

        Args:
            line: the lines.
            check: raise an error for every failure, not only for those of the storage itself.
            missing: what is not there is no failure.

        Raises:
            RemoteError: they failed; says so plainly when HDFS does not answer.
        """
        result = self._nodes.run(self._master, line, sudo=self.user, check=False)
        absent = missing and "No such file or directory" in result.stderr
        self._complain(result, check=check and not absent)
        return result

    def names(self, uri: str) -> list[str]:
        """List a folder; one that does not exist is empty.

        Raises:
            RemoteError: it cannot be listed; that is not taken for an empty one.
        """
        result = self.run(self.list_line(uri), missing=True)
        return [line.rstrip("/").rpartition("/")[2] for line in result.stdout.splitlines() if line]

    def write(self, uri: str, content: bytes) -> None:
        """Write a small file."""
        result = self._nodes.run(
            self._master, self.put_line(uri), sudo=self.user, input=content, check=False
        )
        self._complain(result)

    def send(self, uri: str) -> Sending:
        """Begin to stream a new file to the storage.

        On HDFS every block has checksums from there on, on its way to each DataNode and on disk.
        """
        line = self.receive_line(uri)

        def send(pieces: Iterator[bytes]) -> str:
            result = self._nodes.stream(self._master, line, pieces, sudo=self.user, check=False)
            self._complain(result)
            return result.stdout.split()[0]

        return Sending(send)

    def send_all(self, uri: str, stream: BinaryIO) -> str:
        """Write a file that is here; return the sha256 of what arrived.

        Raises:
            RemoteError: the far side failed.
        """
        sending = self.send(uri)
        try:
            while block := stream.read(1 << 20):
                sending.write(block)
            sending.end()
        except BaseException:
            sending.abandon()
            raise
        return sending.wait()

    def sha256(self, *uris: str) -> str:
        """Read files back, one after the other, and return the checksum of all of it."""
        return self.run(f"{self.cat_line(*uris)} | sha256sum").stdout.split()[0]

    def _complain(self, result: Result, *, check: bool = True) -> None:
        if result.rc == 0:
            return
        text = result.stderr
        if "safe mode" in text or "SafeModeException" in text:
            raise RemoteError(
                f"HDFS on {result.host} is in safe mode: it takes no writes",
                hint="it leaves it by itself once enough DataNodes have reported; see "
                "`mammoctl verify`",
            )
        if self.hdfs and ("ConnectException" in text or "Connection refused" in text):
            raise RemoteError(
                f"HDFS on {result.host} does not answer",
                hint="run `mammoctl verify`; `mammoctl provision` starts what is down",
            )
        if "could only be written to 0 of" in text or "No space left" in text:
            raise RemoteError(
                "the cluster's storage is full, or no DataNode takes data",
                hint="free space on the workers, or run `mammoctl verify`",
                details=text.strip().splitlines()[-3:],
            )
        if check:
            lines = [line for line in text.splitlines() if " WARN " not in line]
            raise RemoteError(
                f"{result.host}: `{result.command}` ended with status {result.rc}",
                details=lines[-5:],
                hint="run `mammoctl verify` to see what is wrong with the storage",
            )
