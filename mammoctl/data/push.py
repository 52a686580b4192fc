"""Put a data set on the cluster: pack, stream, compare, and rename into place."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mammoctl.data import ids
from mammoctl.data.claim import claimed
from mammoctl.data.describe import describe, fingerprint
from mammoctl.data.pack import Packed, Sink, pack
from mammoctl.data.storage import Storage
from mammoctl.errors import DataError, RemoteError

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.data.model import Scan
    from mammoctl.data.sending import Sending
    from mammoctl.ssh import Nodes

DESCRIPTION = "dataset.json"
IDS_ROOT = "/var/lib/mammoctl/datasets"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MAP = "ids.csv"


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push came to.

    Attributes:
        uri: where the data set lies.
        description: the contents of its ``dataset.json``.
        changed: False when the cluster already had exactly this.
        kept: bytes of what is new that the cluster had already, and that did not travel.
        seconds: wall-clock time.
    """

    uri: str
    description: dict[str, Any]
    changed: bool
    seconds: float
    kept: int = 0


def check_name(name: str) -> None:
    """Refuse names that are awkward as folders.

    Raises:
        DataError: other signs than letters, digits, dots, hyphens and underscores.
    """
    if not _NAME.fullmatch(name):
        raise DataError(
            f"a data set cannot be called {name!r}",
            hint="use letters, digits, dots, hyphens and underscores, 63 at most",
        )


def leftovers(entries: Iterable[str], name: str) -> list[str]:
    """Return which entries of the data sets' folder were left by what was cut short.

    Args:
        entries: names in the folder.
        name: of the data set that was pushed, replaced or removed.
    """
    own = re.compile(rf"\.(tmp|old)-{re.escape(name)}-[0-9a-f]{{8}}")
    return [entry for entry in entries if own.fullmatch(entry)]


def push(
    nodes: Nodes,
    deployment: ClusterFile,
    scan: Scan,
    name: str,
    *,
    overwrite: bool = False,
    keep_identifiers: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Pushed:
    """Bring the images of a scan to the cluster under ``name``.

    The images are read once and streamed; the data set appears by one rename at the end. Parts that
    the data set had before, or that an interrupted push has left, do not travel again.

    Args:
        nodes: connections to the cluster.
        deployment: what is installed there.
        scan: the images.
        name: of the data set.
        overwrite: replace a data set of that name with other content.
        keep_identifiers: send the files as they are, headers included.
        advance: is told the number of bytes read after each image.

    Raises:
        DataError: the name is taken by other content, the images contradict each other, or another
            push of this name is going on.
        RemoteError: the storage failed, or gave back something else than was sent.
    """
    check_name(name)
    with claimed(nodes, name):
        how = {"overwrite": overwrite, "keep_identifiers": keep_identifiers}
        return _push(nodes, deployment, scan, name, advance, **how)


def _push(
    nodes: Nodes,
    deployment: ClusterFile,
    scan: Scan,
    name: str,
    advance: Callable[[int], None],
    *,
    overwrite: bool,
    keep_identifiers: bool,
) -> Pushed:
    begin = time.monotonic()
    key = ids.load_key(nodes.cluster.path)
    mark = fingerprint(scan, key, keep_identifiers)
    target = _Target(nodes, Storage(nodes, deployment), deployment.paths.data, name)
    old = target.existing()
    if old is not None:
        again: Packed | None = None
        look = partial(
            pack, scan.images, key, None, keep_identifiers=keep_identifiers, advance=advance
        )
        same = old.get("source") == mark
        if not same and not overwrite:
            again = look()
            same = again.content == old.get("content")
            if not same:
                raise DataError(
                    f"there is a data set {name} already, with other content "
                    f"({old.get('images', '?')} images)",
                    hint="choose another --name, or put this in its place with --replace",
                )
        if same:
            if not target.is_mapped():
                target.write_map(again or look())
                target.show_map()
            target.sweep()
            return Pushed(target.uri, old, False, time.monotonic() - begin)
    target.recognise(old or {})
    packed = target.upload(scan, key, keep_identifiers, advance)
    description = describe(name, scan, packed, mark, keep_identifiers)
    target.finish(packed, description, replaces=old is not None)
    return Pushed(target.uri, description, True, time.monotonic() - begin, target.kept)


class _Target:
    """The place of one data set on the storage."""

    def __init__(self, nodes: Nodes, storage: Storage, root: str, name: str) -> None:
        self._nodes = nodes
        self._storage = storage
        self._root = root
        self._name = name
        self._master = nodes.cluster.master.name
        self._ids = f"{IDS_ROOT}/{name}"
        self.uri = f"{root}/{name}"
        self._temporary = f"{root}/.tmp-{name}-{secrets.token_hex(4)}"
        self._leftovers: list[str] = []
        self._there: dict[str, str] = {}
        self._going: dict[str, Sending] = {}
        self._arrived: dict[str, str] = {}
        self.kept = 0

    def existing(self) -> dict[str, Any] | None:
        """Return the description of the data set of this name, if there is one.

        Also notes what earlier pushes have left, and puts back a data set that an interrupted
        replacement had moved away.
        """
        storage = self._storage
        names = storage.names(self._root)
        self._leftovers = [f"{self._root}/{one}" for one in leftovers(names, self._name)]
        if self._name not in names:
            aside = [uri for uri in self._leftovers if "/.old-" in uri]
            if not aside:
                return None
            storage.change(("move", aside[-1], self.uri))
            self._leftovers.remove(aside[-1])
        try:
            description = json.loads(storage.read(f"{self.uri}/{DESCRIPTION}") or "")
        except ValueError:
            return {}
        return description if isinstance(description, dict) else {}

    def recognise(self, old: dict[str, Any]) -> None:
        """Note which parts are on the cluster: of the data set so far, and of cut short pushes."""
        parts = old.get("parts") or []
        self._there = {str(one["sha256"]): f"{self.uri}/{one['name']}" for one in parts}
        storage = self._storage
        uris = [
            f"{folder}/{name}"
            for folder in self._leftovers
            for name in storage.names(folder)
            if re.fullmatch(r"part-\d{5}\.parquet", name)
        ]
        for uri, found in zip(uris, storage.sums(uris), strict=True):
            if found:
                self._there.setdefault(found, uri)

    def upload(
        self, scan: Scan, key: bytes, keep_identifiers: bool, advance: Callable[[int], None]
    ) -> Packed:
        """Pack into the temporary folder and compare what arrived with what was sent."""
        self._storage.change(("mkdir", self._temporary))
        try:
            packed = pack(
                scan.images, key, self._open, keep_identifiers=keep_identifiers, advance=advance
            )
            self._settle()
        except BaseException:
            for sending in self._going.values():
                sending.abandon()
            raise
        for part in packed.parts:
            if (found := self._arrived[part.name]) != part.sha256:
                raise RemoteError(
                    f"{part.name} was damaged on its way: sha256 {found[:12]}..., "
                    f"not {part.sha256[:12]}...",
                    hint="push it again; if it happens twice, check the network and the disks",
                )
        return packed

    @contextmanager
    def _open(self, name: str) -> Iterator[Sink]:
        target = f"{self._temporary}/{name}"
        if not self._there:  # then it can go while it is being packed
            self._settle(but=1)
            self._going[name] = self._storage.send(target)
            yield self._going[name]
            self._going[name].end()
            return
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            if source := self._there.get(digest):
                self._arrived[name] = self._storage.copy(source, target)
                self.kept += size
                return
            file.seek(0)
            self._arrived[name] = self._storage.send_all(target, file)

    def _settle(self, *, but: int = 0) -> None:
        """Wait for the parts on their way, the oldest first, until only ``but`` are left."""
        while len(self._going) > but:
            name, sending = next(iter(self._going.items()))
            self._arrived[name] = sending.wait()
            del self._going[name]

    def finish(self, packed: Packed, description: dict[str, Any], *, replaces: bool) -> None:
        """Write description and map of ids, and make the data set appear."""
        storage = self._storage
        self.write_map(packed)
        line = json.dumps(description, sort_keys=True) + "\n"
        storage.write(f"{self._temporary}/{DESCRIPTION}", line)
        steps: list[tuple[str, ...]] = [("move", self._temporary, self.uri)]
        if replaces:
            aside = f"{self._root}/.old-{self._name}-{secrets.token_hex(4)}"
            steps.insert(0, ("move", self.uri, aside))
            self._leftovers.insert(0, aside)
        storage.change(*steps)
        self.show_map()
        self.sweep()

    def sweep(self) -> None:
        """Remove what earlier pushes, and this one, have left."""
        if self._leftovers:
            self._storage.change(*[("remove", uri) for uri in self._leftovers])

    # --- the map from ids to files -------------------------------------------------------------

    def is_mapped(self) -> bool:
        """Tell whether the map is there and that of the data set: no other one is waiting."""
        line = f"test -f {self._ids}/{MAP} && ! test -e {self._ids}/{MAP}.new"
        return self._nodes.run(self._master, ["sh", "-c", line], sudo=True, check=False).rc == 0

    def write_map(self, packed: Packed) -> None:
        """Write the map beside the one that counts."""
        run, folder = self._nodes.run, self._ids
        run(self._master, ["install", "-d", "-m", "0700", IDS_ROOT, folder], sudo=True)
        new = f"{folder}/{MAP}.new"
        self._nodes.put(self._master, _ids_csv(packed), new, sudo=True, mode=0o600)

    def show_map(self) -> None:
        """Let the map that was written count."""
        file = f"{self._ids}/{MAP}"
        self._nodes.run(self._master, ["mv", "-f", f"{file}.new", file], sudo=True)


def _ids_csv(packed: Packed) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("image_id", "file", "label", "patient", "patient_id"))
    writer.writerows(sorted(packed.rows))
    # names of files need not be valid text
    return buffer.getvalue().encode("utf-8", "surrogateescape")


def list_data(nodes: Nodes, deployment: ClusterFile) -> list[dict[str, Any]]:
    """Return the descriptions of all data sets on the cluster, sorted by name.

    Raises:
        RemoteError: the storage cannot be read.
    """
    storage = Storage(nodes, deployment)
    found = []
    # a leading dot marks what is not finished
    for text in storage.read_each(deployment.paths.data, DESCRIPTION):
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return sorted(found, key=lambda item: str(item.get("name")))
