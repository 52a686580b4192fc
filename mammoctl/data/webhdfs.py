"""Operations on HDFS over its REST API (WebHDFS): run on the master, by its Python (3.9).

HDFS's own program takes a second or two to start, and most of two processors while it does; this a
tenth of one. Nothing is imported here but the standard library. The API:
https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/WebHDFS.html
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import pwd
import sys
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

SETTINGS = ("/etc/hadoop/core-site.xml", "/etc/hadoop/hdfs-site.xml")

PIECE = 1 << 20
"""Bytes of a file that are held at a time."""

CONNECT_S = 10
PATIENCE_S = 600
"""How long a DataNode may take to read or write a piece, or to close a file."""

TRIES = 5
"""How many DataNodes may be dead without the NameNode's knowledge."""


class Refused(Exception):
    """What HDFS said against an operation."""


class Files:
    """The operations. Paths may be URIs of this HDFS."""

    def __init__(self, settings: dict[str, str], user: str) -> None:
        self.root = f"http://{settings['dfs.namenode.http-address']}/webhdfs/v1"
        self.user = user
        self.umask = int(settings.get("fs.permissions.umask-mode", "022"), 8)
        # what leaves through a proxy would not reach the cluster
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def names(self, uri: str) -> list[str] | None:
        """Return the names in a folder, sorted; None when there is no such folder."""
        answer = self._ask("GET", uri, "LISTSTATUS")
        if answer is None:
            return None
        return sorted(one["pathSuffix"] for one in json.loads(answer)["FileStatuses"]["FileStatus"])

    def read(self, uri: str) -> str | None:
        """Return the text of a small file; None when there is none."""
        try:
            source = self._opened(uri)
        except FileNotFoundError:
            return None
        with source:
            pieces = iter(lambda: source.read(PIECE), b"")
            return b"".join(pieces).decode(errors="replace")

    def read_each(self, uri: str, name: str) -> list[str]:
        """Return the texts of the files of one name in all folders of a folder, but hidden ones."""
        folders = [one for one in self.names(uri) or [] if not one.startswith(".")]
        found = [self.read(f"{uri}/{folder}/{name}") for folder in folders]
        return [text for text in found if text is not None]

    def write(self, uri: str, text: str) -> None:
        """Write a new file."""
        self._write(uri, io.BytesIO(text.encode()).read)

    def receive(self, uri: str) -> str:
        """Write a new file from this program's input, as it comes; return the input's sha256."""
        return self._write(uri, sys.stdin.buffer.read)

    def copy(self, uri: str, target: str) -> str:
        """Copy a file to a new one; return the sha256 of what was read and written."""
        with self._opened(uri) as source:
            return self._write(target, source.read)

    def sha256(self, uri: str) -> str:
        """Read a file and return its checksum."""
        digest = hashlib.sha256()
        with self._opened(uri) as source:
            while piece := source.read(PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def sums(self, *uris: str) -> list[str | None]:
        """Return the checksums of files; None for one that is not there, or cannot be read."""
        found: list[str | None] = []
        for uri in uris:
            try:
                found.append(self.sha256(uri))
            except (Refused, FileNotFoundError):
                found.append(None)
        return found

    def mkdir(self, uri: str) -> None:
        """Make a folder and those above it."""
        self._must("PUT", uri, "MKDIRS", permission=f"{0o777 & ~self.umask:o}")

    def move(self, source: str, target: str) -> None:
        """Rename; the target does not exist."""
        self._must("PUT", source, "RENAME", destination=urllib.parse.urlsplit(target).path)

    def remove(self, uri: str) -> None:
        """Remove a folder with all in it; one that is not there is no failure."""
        self._ask("DELETE", uri, "DELETE", recursive="true")

    def _opened(self, uri: str) -> _Reading:
        connection, target = self._connected("GET", uri, "OPEN")
        try:
            connection.request("GET", target)
            return _Reading(uri, connection, _answer(connection))
        except BaseException:
            connection.close()
            raise

    def _write(self, uri: str, read: Callable[[int], bytes]) -> str:
        digest = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            while piece := read(PIECE):
                digest.update(piece)
                yield piece

        mode = f"{0o666 & ~self.umask:o}"
        connection, target = self._connected("PUT", uri, "CREATE", permission=mode)
        with closing(connection):
            with suppress(ConnectionError):  # one that refuses does not read all, but says why
                connection.request("PUT", target, pieces(), encode_chunked=True)
            _answer(connection)
        return digest.hexdigest()

    def _connected(
        self, method: str, uri: str, operation: str, **parameters: str
    ) -> tuple[http.client.HTTPConnection, str]:
        """Return a connection to a DataNode that does it, and what to ask it for.

        The NameNode does not know yet which DataNodes have just died: it is asked for another.

        Raises:
            FileNotFoundError: there is no such file.
            Refused: no DataNode has it, or takes a new one.
            OSError: none of them answers.
        """
        dead: list[str] = []
        while True:
            if dead:
                parameters["excludedatanodes"] = ",".join(dead)
            answer = self._ask(method, uri, operation, noredirect="true", **parameters)
            if answer is None:
                raise FileNotFoundError(f"{uri}: No such file or directory")
            place = urllib.parse.urlsplit(json.loads(answer).get("Location") or "")
            if not place.netloc:
                raise Refused(f"no DataNode takes or has {uri}")
            # a proxy would not reach the cluster: this knows of none
            connection = http.client.HTTPConnection(place.netloc, timeout=CONNECT_S)
            try:
                connection.connect()
            except OSError:
                connection.close()
                if place.netloc in dead or len(dead) == TRIES:
                    raise
                dead.append(place.netloc)
                continue
            connection.sock.settimeout(PATIENCE_S)
            return connection, f"{place.path}?{place.query}"

    def _must(self, method: str, uri: str, operation: str, **parameters: str) -> None:
        answer = self._ask(method, uri, operation, **parameters)
        if answer is None or not json.loads(answer).get("boolean"):
            raise Refused(f"{operation} of {uri}: No such file or directory, or it is in the way")

    def _ask(self, method: str, uri: str, operation: str, **parameters: str) -> bytes | None:
        query = urllib.parse.urlencode({"op": operation, "user.name": self.user, **parameters})
        path = urllib.parse.quote(urllib.parse.urlsplit(uri).path)
        return self._send(method, f"{self.root}{path}?{query}")

    def _send(self, method: str, url: str) -> bytes | None:
        request = urllib.request.Request(url, method=method)  # noqa: S310  HDFS's own address
        try:
            with self.opener.open(request, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            kind, message = _why(error.code, error.read())
            if kind == "FileNotFoundException":
                return None
            raise Refused(f"{kind}: {message}") from error


class _Reading:
    """A file that comes from a DataNode, to its end."""

    def __init__(
        self, uri: str, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse
    ) -> None:
        self._uri, self._connection, self._answer = uri, connection, answer
        self._left = answer.length

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def read(self, size: int) -> bytes:
        """Return the next bytes; none at the end.

        Raises:
            Refused: the file ended before its end, as one does whose blocks are damaged.
        """
        try:
            piece = self._answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"{self._uri}: {error}") from error
        if self._left is not None:
            self._left -= len(piece)
            if not piece and self._left:
                raise Refused(f"{self._uri}: {self._left} bytes cannot be read")
        return piece


def _answer(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """Return what a DataNode answers, to be read.

    Raises:
        Refused: it says why it does not.
    """
    answer = connection.getresponse()
    if answer.status >= 300:
        kind, message = _why(answer.status, answer.read())
        raise Refused(f"{kind}: {message}")
    return answer


def _why(status: int, said: bytes) -> tuple[str, str]:
    """Return the kind and the words of a refusal, without where in Java it came from."""
    try:
        why = json.loads(said)["RemoteException"]
        return str(why["exception"]), str(why["message"]).split("\n")[0][:2000]
    except (ValueError, KeyError):
        return f"HTTP {status}", said.decode(errors="replace")[:2000]


def settings() -> dict[str, str]:
    """Return what HDFS's own files on this node say."""
    found: dict[str, str] = {}
    for path in SETTINGS:
        for one in ET.parse(path).getroot().iter("property"):  # noqa: S314  root's own files
            found[one.findtext("name") or ""] = one.findtext("value") or ""
    return found


def main(operations: str) -> int:
    """Do things one after the other and print their answers as JSON; the first failure ends it.

    The answers before a failure are printed, too: their number tells what has failed.

    Args:
        operations: JSON, a list of lists: the name of a method of `Files`, and its words.
    """
    answers: list[Any] = []
    rc = 0
    try:
        files = Files(settings(), pwd.getpwuid(os.getuid()).pw_name)
        for name, *words in json.loads(operations):
            answers.append(getattr(files, name)(*words))
    except (Refused, OSError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
        rc = 1
    json.dump(answers, sys.stdout)
    return rc
