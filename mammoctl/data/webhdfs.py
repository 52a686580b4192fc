"""Small operations on HDFS over its REST API (WebHDFS): run on the master, by its Python (3.9).

HDFS's own program takes a second or two to start, this a tenth of one. Nothing is imported here but
the standard library. The API: https://hadoop.apache.org/docs/stable/hadoop-project-dist/
hadoop-hdfs/WebHDFS.html
"""

from __future__ import annotations

import json
import os
import pwd
import sys
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from typing import Any

SETTINGS = ("/etc/hadoop/core-site.xml", "/etc/hadoop/hdfs-site.xml")


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
        """Return the text of a file; None when there is none."""
        answer = self._ask("GET", uri, "OPEN")
        return None if answer is None else answer.decode(errors="replace")

    def read_each(self, uri: str, name: str) -> list[str]:
        """Return the texts of the files of one name in all folders of a folder, but hidden ones."""
        folders = [one for one in self.names(uri) or [] if not one.startswith(".")]
        found = [self.read(f"{uri}/{folder}/{name}") for folder in folders]
        return [text for text in found if text is not None]

    def write(self, uri: str, text: str) -> None:
        """Write a new file."""
        mode = f"{0o666 & ~self.umask:o}"
        where = self._ask("PUT", uri, "CREATE", permission=mode, noredirect="true")
        place = json.loads(where or b"{}").get("Location")
        if not place:
            raise Refused(f"no DataNode takes {uri}")
        self._send("PUT", place, text.encode())

    def mkdir(self, uri: str) -> None:
        """Make a folder and those above it."""
        self._must("PUT", uri, "MKDIRS", permission=f"{0o777 & ~self.umask:o}")

    def move(self, source: str, target: str) -> None:
        """Rename; the target does not exist."""
        self._must("PUT", source, "RENAME", destination=urllib.parse.urlsplit(target).path)

    def remove(self, uri: str) -> None:
        """Remove a folder with all in it; one that is not there is no failure."""
        self._ask("DELETE", uri, "DELETE", recursive="true")

    def _must(self, method: str, uri: str, operation: str, **parameters: str) -> None:
        answer = self._ask(method, uri, operation, **parameters)
        if answer is None or not json.loads(answer).get("boolean"):
            raise Refused(f"{operation} of {uri}: No such file or directory, or it is in the way")

    def _ask(self, method: str, uri: str, operation: str, **parameters: str) -> bytes | None:
        query = urllib.parse.urlencode({"op": operation, "user.name": self.user, **parameters})
        path = urllib.parse.quote(urllib.parse.urlsplit(uri).path)
        return self._send(method, f"{self.root}{path}?{query}")

    def _send(self, method: str, url: str, data: bytes | None = None) -> bytes | None:
        request = urllib.request.Request(url, data, method=method)  # noqa: S310  HDFS's own address
        try:
            with self.opener.open(request, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            said = error.read()
            try:
                why = json.loads(said)["RemoteException"]
            except (ValueError, KeyError):
                why = {"exception": f"HTTP {error.code}", "message": said.decode(errors="replace")}
            if why["exception"] == "FileNotFoundException":
                return None
            message = f"{why['exception']}: {why['message']}"
            raise Refused(message[:2000]) from error


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
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        rc = 1
    json.dump(answers, sys.stdout)
    return rc
