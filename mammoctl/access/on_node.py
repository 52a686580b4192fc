"""Runs on a node, as the login: the keys of further operators in its ``authorized_keys``.

    python3 - REQUEST < on_node.py

REQUEST is JSON: ``action`` (list, grant, revoke), ``name``, and to grant ``kind``, ``blob``,
``since``, ``by``. The answer is JSON on standard output. It needs Python 3.10 and nothing else. A
line without our mark is somebody else's: it is never changed, and its bytes stay as they are.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path

MARK = "mammoctl-access"
_LINE = re.compile(
    rb"(?P<kind>\S+) (?P<blob>[A-Za-z0-9+/]+=*) "
    + MARK.encode()
    + rb" name=(?P<name>[A-Za-z0-9._-]+) since=(?P<since>\d+) by=(?P<by>\S+)\s*"
)


def entries(text: bytes) -> list[dict[str, str]]:
    """Return the lines that are ours, taken apart."""
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return [{k: v.decode() for k, v in m.groupdict().items()} for m in found if m]


def strangers(text: bytes, blob: str) -> int:
    """Count the lines that let a key in and are not ours."""
    own = [line for line in text.splitlines() if not line.lstrip().startswith(b"#")]
    return sum(blob.encode() in line.split() and not _LINE.fullmatch(line) for line in own)


def without(text: bytes, name: str) -> bytes:
    """Return the text without our lines of a name."""

    def is_theirs(line: bytes) -> bool:
        match = _LINE.fullmatch(line.rstrip(b"\r\n"))
        return match is not None and match["name"].decode() == name

    return b"".join(line for line in text.splitlines(keepends=True) if not is_theirs(line))


def granted(text: bytes, request: dict[str, str]) -> bytes:
    """Return the text with one line of ours for a name, last."""
    own = [one for one in entries(text) if one["name"] == request["name"]]
    if [one["blob"] for one in own] == [request["blob"]]:
        return text
    rest = without(text, request["name"])
    if rest and not rest.endswith(b"\n"):
        rest += b"\n"
    line = "{kind} {blob} {mark} name={name} since={since} by={by}\n".format(mark=MARK, **request)
    return rest + line.encode()


def write(path: Path, text: bytes) -> None:
    """Put the file in place whole; it keeps its mode, and is 0600 when it is new."""
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o600
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def main(request: dict[str, str], home: Path) -> dict[str, object]:
    """Do what is asked for in the home of a login."""
    path = (home / ".ssh" / "authorized_keys").resolve()
    before = path.read_bytes() if path.exists() else b""
    after = before
    if request["action"] == "grant":
        (home / ".ssh").mkdir(0o700, exist_ok=True)
        after = granted(before, request)
    elif request["action"] == "revoke":
        after = without(before, request["name"])
    if after != before:
        write(path, after)
    gone = [one for one in entries(before) if one["name"] == request.get("name")]
    blobs = {request["blob"]} if "blob" in request else {one["blob"] for one in gone}
    return {
        "changed": after != before,
        "entries": entries(after),
        "strangers": sum(strangers(after, blob) for blob in blobs),
    }


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1]), Path.home()), sys.stdout)
