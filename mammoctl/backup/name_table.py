"""HDFS's name table: where each file's blocks are known. Without it the blocks are nothing.

A NameNode keeps it as an image and the edits since. `-rollEdits` ends the present segment of edits
without interrupting anybody (saving a new image would need safe mode, in which writes fail); the
last image and the finished segments after it are then the whole table at that moment. See "HDFS
Commands Guide", dfsadmin, in Apache Hadoop's documentation.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mammoctl import node_address, role_settings
from mammoctl.errors import ConnectionFailed, MammoctlError, RemoteError, UsageError
from mammoctl.ssh.commands import require_all

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

HDFS = "/opt/mammoctl/bin/hdfs"
JARS = "/opt/mammoctl/hdfs"

_IMAGE = re.compile(r"fsimage_(\d+)")
_EDITS = re.compile(r"edits_(\d+)-(\d+)")
_JAR = 'ls "$1"'
_LIST = 'cd "$1/current" && ls && cat VERSION'
_ROLL = '"$1" dfsadmin -rollEdits'
_SEEN = '[ -n "$(ls "$1"/current/fsimage_*.md5 2>/dev/null)" ] || exit 0; cat "$1/current/VERSION"'
_DATANODE = 'cat "$1/current/VERSION" 2>/dev/null || true'

# Everything is looked at before the running NameNode is touched.
_STAGE = """
set -e
umask 077
install -d -o "$3" -g "$3" -m 0700 "$1"
mkdir "$1/$2"
cd "$1/$2"
tar -xf - --no-same-owner
[ -f VERSION ]
md5sum --quiet -c "$4.md5" >&2
printf '%s\\n' "$5" > seen_txid
chown -R "$3:$3" .
"""
_SWAP = """
set -e
systemctl stop hdfs-namenode.service
aside=
if [ -e "$1/current" ]; then aside=$1/current.$3; mv -T "$1/current" "$aside"; fi
mv -T "$1/$2" "$1/current"
printf 'HDFS was formatted; its names are in %s\\n' "$1" > "$4"
chmod 0644 "$4"
echo "$aside"
"""


_LEAVE = '"$1" dfsadmin -safemode forceExit'
_BLOCKS = "ReplicatedBlocksState"
_PAUSE_S = 2.0


class NewerBlocks(MammoctlError):
    """DataNodes keep blocks that were written after the table: they have no name in it."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the workers keep {size} bytes in blocks that were written after the backup: the "
            "restored table has no names for them",
            details=["HDFS runs and stays in safe mode: what the table names can be read"],
            hint="copy away what you need; to give these blocks up and go on: the same command "
            "with --only name-table --discard-newer",
        )
        self.size = size


class OtherCluster(UsageError):
    """The table is that of another HDFS than the one whose blocks are here."""


@dataclass(frozen=True)
class Table:
    """A name table in files.

    Attributes:
        image: the name of its image.
        edits: the names of the segments after it, in order.
        last: the id of the last transaction in them.
        version: the keys of its VERSION file.
    """

    image: str
    edits: tuple[str, ...]
    last: int
    version: Mapping[str, str]

    @property
    def files(self) -> list[str]:
        """All of its files."""
        return ["VERSION", self.image, f"{self.image}.md5", *self.edits]

    def as_json(self) -> dict[str, Any]:
        """Return what a backup's manifest says of it."""
        return {
            "image": self.image, "edits": list(self.edits), "last_transaction": self.last,
            "cluster_id": self.version.get("clusterID", ""),
            "block_pool": self.version.get("blockpoolID", ""),
            "layout": self.version.get("layoutVersion", ""),
        }  # fmt: skip


def _folder(cluster: Cluster) -> str:
    return str(role_settings.value(cluster.vars, "hdfs_name_dir"))


def version(text: str) -> dict[str, str]:
    """Read a VERSION file of HDFS."""
    rows = (line.partition("=") for line in text.splitlines() if "=" in line and line[0] != "#")
    return {key.strip(): value.strip() for key, _equals, value in rows}


def choose(names: Iterable[str], of: Mapping[str, str]) -> Table:
    """Return the table that the files of a NameNode's folder make up (pure).

    Args:
        names: of the files.
        of: its VERSION.

    Raises:
        RemoteError: there is no whole one.
    """
    there = set(names)
    images = [n for n in there if _IMAGE.fullmatch(n) and f"{n}.md5" in there]
    if not images:
        raise RemoteError("the NameNode has no image of its names", hint="mammoctl status")
    image = max(images, key=lambda name: int(name.partition("_")[2]))
    last = int(image.partition("_")[2])
    edits = []
    spans = sorted((int(m[1]), int(m[2]), m[0]) for n in there if (m := _EDITS.fullmatch(n)))
    for first, end, name in spans:
        if end <= last:
            continue
        if first > last + 1:
            raise RemoteError(
                f"the NameNode's edits have a gap: {name} follows transaction {last}",
                hint="hdfs dfsadmin -safemode enter, -saveNamespace and -safemode leave on the "
                "master write a whole image; then repeat this",
            )
        edits.append(name)
        last = end
    return Table(image, tuple(edits), last, of)


def save(nodes: Nodes, target: Path) -> Table:
    """Fetch the name table as it is now into a tar; nobody is interrupted.

    Raises:
        RemoteError: the NameNode does not answer, or has no whole table.
    """
    master, folder = nodes.cluster.master, _folder(nodes.cluster)
    rolled = nodes.run(master, ["sh", "-c", _ROLL, "sh", HDFS], sudo=True, check=False)
    if rolled.rc:
        raise RemoteError(
            f"{master.name}: the NameNode does not write its names down",
            details=(rolled.stderr or rolled.stdout).strip().splitlines()[-3:],
            hint="mammoctl status; mammoctl start",
        )
    said = nodes.run(master, ["sh", "-c", _LIST, "sh", folder], sudo=True).stdout.splitlines()
    names = [line for line in said if re.fullmatch(r"\w+[\w.-]*", line)]
    table = choose(names, version("\n".join(said)))
    argv = ["tar", "-C", f"{folder}/current", "-cf", "-", "--", *table.files]
    nodes.fetch(master, argv, target, sudo=True)
    return table


def jar(nodes: Nodes) -> str:
    """Return the name of HDFS's jar on the master, which has its version; empty without one."""
    said = nodes.run(nodes.cluster.master, ["sh", "-c", _JAR, "sh", JARS], check=False)
    return said.stdout.strip().partition("\n")[0] if said.ok else ""


def present(nodes: Nodes) -> dict[str, str]:
    """Return the VERSION of the table that the master has; empty where it has none."""
    argv = ["sh", "-c", _SEEN, "sh", _folder(nodes.cluster)]
    return version(nodes.run(nodes.cluster.master, argv, sudo=True).stdout)


def require_same(nodes: Nodes, table: Mapping[str, Any]) -> None:
    """See that the blocks on the workers are those that a table knows.

    Raises:
        OtherCluster: a DataNode belongs to another HDFS.
        RemoteError: no worker keeps a block of any.
        ConnectionFailed: a worker does not answer.
    """
    workers = nodes.cluster.workers
    folders = {one.name: str(role_settings.value(one.vars, "hdfs_data_dir")) for one in workers}
    argv = {name: ["sh", "-c", _DATANODE, "sh", folder] for name, folder in folders.items()}
    said = require_all(nodes.run_all(argv, hosts=workers, sudo=True))
    of = {name: version(out.stdout).get("clusterID", "") for name, out in said.items()}
    if not any(of.values()):
        raise RemoteError(
            "no worker keeps blocks of HDFS: the names in the backup would lead nowhere",
            details=[f"{name}: nothing in {folder}/current" for name, folder in folders.items()],
            hint="are their disks mounted? hdfs_data_dir in the inventory says where they are",
        )
    # A worker without any is new, or lost its disk: the others have copies.
    others = {name: found for name, found in of.items() if found not in ("", table["cluster_id"])}
    if others:
        raise OtherCluster(
            f"the backup's names are those of HDFS {table['cluster_id']}",
            details=[f"{name} keeps blocks of HDFS {found}" for name, found in others.items()],
            hint="this backup is not of this cluster's data; nothing was changed",
        )


def put_back(nodes: Nodes, table: Mapping[str, Any], source: IO[bytes]) -> str:
    """Put a table in place of what the master has, and leave the NameNode stopped.

    Args:
        nodes: the way there.
        table: what the manifest says of it.
        source: its tar.

    Returns:
        Where what was there before lies now; empty when there was nothing.

    Raises:
        RemoteError: it is not whole; the NameNode was not touched.
    """
    master, cluster = nodes.cluster.master, nodes.cluster
    folder, user = _folder(cluster), str(role_settings.value(cluster.vars, "hdfs_user"))
    marker = str(role_settings.value(cluster.vars, "hdfs_formatted_marker"))
    if not _IMAGE.fullmatch(str(table["image"])):
        raise UsageError(f"the backup names no image of HDFS: {table['image']!r}")
    staging = f"restored-{secrets.token_hex(4)}"
    words = [folder, staging, user, str(table["image"]), str(int(table["last_transaction"]))]
    try:
        nodes.stream(master, ["sh", "-c", _STAGE, "sh", *words], source, sudo=True)
        aside = f"before-restore-{time.strftime('%Y%m%d-%H%M%S')}"
        argv = ["sh", "-c", _SWAP, "sh", folder, staging, aside, marker]
        return nodes.run(master, argv, sudo=True, timeout=180).stdout.strip()
    except MammoctlError:
        nodes.run(master, ["rm", "-rf", "--", f"{folder}/{staging}"], sudo=True, check=False)
        raise


def page(cluster: Cluster) -> str:
    """Return the address of the NameNode's pages, as the inventory has it."""
    master = cluster.master
    port = role_settings.number(cluster.vars, "hdfs_namenode_http_port")
    return f"http://{node_address.of_services(master)}:{port}"


def settle(nodes: Nodes, page: str, *, discard: bool, wait_s: float) -> int:
    """Start HDFS and wait until the NameNode has left its safe mode.

    It does not leave it by itself where DataNodes report blocks that were written after its table:
    leaving would remove them.

    Args:
        nodes: the way there.
        page: the address of the NameNode's pages.
        discard: leave it all the same.
        wait_s: seconds until it must have come to one or the other.

    Returns:
        Bytes in blocks that were given up.

    Raises:
        NewerBlocks: there are such blocks, and they are not to be given up.
        RemoteError: it does not start, or blocks that the table names are missing.
    """
    master, units = nodes.cluster.master, ("hdfs-namenode.service", "hdfs-datanode.service")
    nodes.run(master, ["systemctl", "start", units[0]], sudo=True, timeout=180)
    require_all(
        nodes.run_all(["systemctl", "start", units[1]], hosts=nodes.cluster.workers, sudo=True)
    )
    deadline, mode = time.monotonic() + wait_s, "no answer"
    while time.monotonic() < deadline:
        try:
            mode = str(_bean(nodes, page, "NameNodeInfo")["Safemode"] or "")
            if not mode:
                return 0
            later = int(_bean(nodes, page, _BLOCKS)["BytesInFutureReplicatedBlocks"])
        except (RemoteError, ConnectionFailed, KeyError, ValueError):
            later = 0
        if later and not discard:
            raise NewerBlocks(later)
        if later:
            argv = ["sh", "-c", _LEAVE, "sh", HDFS]
            nodes.run(master, argv, sudo=True, timeout=120)
            return later
        time.sleep(_PAUSE_S)
    raise RemoteError(
        f"{master.name}: HDFS is not whole after {wait_s:.0f} s",
        details=[mode],
        hint="it stays in safe mode while blocks are missing that the table names, and can be read "
        "meanwhile: are all workers up? `hdfs fsck /` on the master lists what is missing",
    )


def _bean(nodes: Nodes, page: str, name: str) -> dict[str, Any]:
    url = f"{page}/jmx?qry=Hadoop:service=NameNode,name={name}"
    try:
        found: dict[str, Any] = nodes.http_json(nodes.cluster.master, url, timeout=15)["beans"][0]
    except (LookupError, TypeError) as exc:
        raise RemoteError("the NameNode's answer is not understood") from exc
    return found


def counts(nodes: Nodes, page: str) -> dict[str, Any]:
    """Return what the NameNode counts: ``files``, ``blocks``, ``missing_blocks``, and its ids.

    Raises:
        RemoteError: it does not answer.
    """
    try:
        system, info = (_bean(nodes, page, name) for name in ("FSNamesystem", "NameNodeInfo"))
        return {
            "files": int(system["FilesTotal"]),
            "blocks": int(system["BlocksTotal"]),
            "missing_blocks": int(system["MissingBlocks"]),
            "cluster_id": str(info["ClusterId"]),
        }
    except (LookupError, TypeError, ValueError) as exc:
        raise RemoteError("the NameNode's answer is not understood") from exc
