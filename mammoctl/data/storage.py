"""The cluster's storage as seen through its master: HDFS, or a folder that the nodes share."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from mammoctl import console
from mammoctl.data import webhdfs
from mammoctl.data.sending import Sending
from mammoctl.errors import RemoteError
from mammoctl.jobs.account import account
from mammoctl.jobs.job import SYSTEM_PYTHON

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes, Result

_NOT_YET = re.compile(
    r"safe ?mode|SafeMode|ConnectException|Connection refused|in startup mode|no DataNode takes"
)
_PATIENCE_S = 120  # after the start of the NameNode, or of its machine
_AGAIN_S = 2
_WORDS = {
    "names": "list a folder",
    "read": "read a file",
    "read_each": "list the data sets",
    "write": "write a file",
    "receive": "write a file",
    "copy": "copy a file",
    "sums": "read files back",
    "mkdir": "make a folder",
    "move": "rename a folder",
    "remove": "remove a folder",
}
# Now, and when the machine began, and the NameNode where it runs: in seconds, an @ in front.
_SINCE = (
    "show='systemctl show --timestamp=unix --value'; date +%s; "
    "$show --property=UserspaceTimestamp; systemctl is-active --quiet hdfs-namenode && "
    "$show --property=ActiveEnterTimestamp hdfs-namenode"
)


class Storage:
    """Files on the cluster's storage, named by URIs; read and written on the master."""

    def __init__(self, nodes: Nodes, deployment: ClusterFile) -> None:
        self._nodes = nodes
        self._master = nodes.cluster.master.name
        self.user = account(nodes)
        self.hdfs = deployment.storage.kind == "hdfs"
        self.paths = deployment.paths

    # --- small things --------------------------------------------------------------------------

    def names(self, uri: str) -> list[str]:
        """List a folder, sorted; one that does not exist is empty.

        Raises:
            RemoteError: it cannot be listed; that is not taken for an empty one.
        """
        if self.hdfs:
            return self._on_hdfs([("names", uri)])[0] or []
        return sorted(self.run(f"ls -1A {self.path(uri)}", missing=True).stdout.splitlines())

    def read(self, uri: str) -> str | None:
        """Return the text of a small file; None when there is none."""
        if self.hdfs:
            text = self._on_hdfs([("read", uri)])[0]
            return None if text is None else str(text)
        result = self.run(f"cat -- {self.path(uri)}", missing=True)
        return None if result.rc else result.stdout

    def read_each(self, uri: str, name: str) -> list[str]:
        """Return the small files of one name, of one line each, in all folders but hidden ones."""
        if self.hdfs:
            return list(self._on_hdfs([("read_each", uri, name)])[0])
        line = f"cat {self.path(uri)}/*/{shlex.quote(name)}"
        return self.run(line, missing=True).stdout.splitlines()

    def write(self, uri: str, content: str) -> None:
        """Write a small file."""
        if self.hdfs:
            self._on_hdfs([("write", uri, content)])
        else:
            self.run(f"cat > {self.path(uri)}", input=content.encode())

    def change(self, *steps: tuple[str, ...]) -> None:
        """Do several things one after the other, in one go.

        Args:
            steps: ``("mkdir", uri)`` makes a folder and those above it, ``("move", uri, target)``
                renames to what does not exist yet, ``("remove", uri)`` removes it with all in it.

        Raises:
            RemoteError: one failed; those after it were not begun.
        """
        if self.hdfs:
            self._on_hdfs(steps)
            return
        verbs = {"mkdir": "mkdir -p", "move": "mv -T --", "remove": "rm -rf --"}
        lines = [" ".join([verbs[name], *map(self.path, uris)]) for name, *uris in steps]
        self.run(" && ".join(lines))

    def _on_hdfs(self, operations: Sequence[tuple[str, ...]]) -> list[Any]:
        """Let the master's Python do something with `webhdfs`."""
        line, program = self._program(operations)
        return self._answers(self.run(line, input=program, check=False), operations)

    def _program(self, operations: Sequence[tuple[str, ...]]) -> tuple[str, bytes]:
        """Return a line of sh, and the program with which its input has to begin."""
        program = Path(webhdfs.__file__).read_bytes()
        program += f"\n\nsys.exit(main({json.dumps(operations)!r}))\n".encode()
        begin = f"import sys; exec(sys.stdin.buffer.read({len(program)}))"
        return f"{SYSTEM_PYTHON} -I -c {shlex.quote(begin)}", program

    def _answers(self, result: Result, operations: Sequence[tuple[str, ...]]) -> list[Any]:
        if result.rc:
            done = len(json.loads(result.stdout or "[]"))
            raise RemoteError(
                f"HDFS on {result.host} refuses to {_WORDS[operations[done][0]]}",
                hint="run `mammoctl verify` to see what is wrong with the storage",
                details=result.stderr.strip().splitlines()[-5:],
            )
        return list(json.loads(result.stdout))

    # --- files as a whole ----------------------------------------------------------------------

    def path(self, uri: str) -> str:
        """Return a URI or path as one word of sh."""
        return shlex.quote(uri if self.hdfs else urlsplit(uri).path)

    def receive_line(self, uri: str) -> str:
        """Return a line of sh that writes its input to a new file and prints the input's sha256."""
        return f"bash -o pipefail -c {shlex.quote(f'tee -- {self.path(uri)} | sha256sum')}"

    def copy(self, source: str, target: str) -> str:
        """Copy a file within the storage; return the checksum of what was copied."""
        if self.hdfs:
            return str(self._on_hdfs([("copy", source, target)])[0])
        self.run(f"cp -- {self.path(source)} {self.path(target)}")
        return self.sha256(target)

    def sha256(self, uri: str) -> str:
        """Read a file back and return its checksum.

        Raises:
            RemoteError: it cannot be read.
        """
        if found := self.sums([uri])[0]:
            return found
        raise RemoteError(
            f"{uri} cannot be read",
            hint="run `mammoctl verify` to see what is wrong with the storage",
        )

    def sums(self, uris: Sequence[str]) -> list[str]:
        """Read files back and return their checksums; an empty one where that is impossible."""
        if not uris:
            return []
        if self.hdfs:
            return [found or "" for found in self._on_hdfs([("sums", *uris)])[0]]
        lines = [f"sha256sum {self.path(uri)} || echo" for uri in uris]
        # a name with a backslash has one before its sum, too
        return [line[:65].strip("\\ ") for line in self.run("; ".join(lines)).stdout.splitlines()]

    def send(self, uri: str) -> Sending:
        """Begin to stream a new file to the storage.

        On HDFS every block has checksums from there on, on its way to each DataNode and on disk.
        """
        return Sending(partial(self._receive, uri))

    def _receive(self, uri: str, pieces: Iterable[bytes]) -> str:
        operations = [("receive", uri)]
        line, program = self._program(operations) if self.hdfs else (self.receive_line(uri), b"")
        source = chain([program], pieces)
        result = self._nodes.stream(self._master, line, source, sudo=self.user, check=False)
        self._complain(result, check=not self.hdfs)
        return self._answers(result, operations)[0] if self.hdfs else result.stdout.split()[0]

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

    # --- how -----------------------------------------------------------------------------------

    def run(
        self, line: str, *, input: bytes | None = None, check: bool = True, missing: bool = False
    ) -> Result:
        """Run lines of sh on the master, once HDFS answers if it has only just been started.

        Args:
            line: the lines.
            input: what they read.
            check: raise an error for every failure, not only for those of the storage itself.
            missing: what is not there is no failure.

        Raises:
            RemoteError: they failed; says so plainly when HDFS does not answer.
        """
        told = False
        while True:
            result = self._nodes.run(self._master, line, sudo=self.user, input=input, check=False)
            if result.rc == 0 or not self._is_starting(result.stderr):
                break
            if not told:
                console.step("HDFS is starting: waiting until it takes data")
                told = True
            time.sleep(_AGAIN_S)
        absent = missing and "No such file or directory" in result.stderr
        self._complain(result, check=check and not absent)
        return result

    def _is_starting(self, stderr: str) -> bool:
        """Tell whether a failure is one of HDFS's first minutes."""
        if not self.hdfs or not _NOT_YET.search(stderr):
            return False
        said = self._nodes.run(self._master, _SINCE, check=False).stdout.split()
        since = [int(word.lstrip("@")) for word in said if word.lstrip("@").isdigit()]
        return len(since) > 1 and since[0] - max(since[1:]) < _PATIENCE_S

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
                hint="`mammoctl start` starts what is down, `mammoctl logs -u hdfs-namenode` "
                "tells why",
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
