"""What lies on the master beside the storage: jobs with their records, and the maps of ids."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mammoctl.data.push import IDS_ROOT
from mammoctl.errors import RemoteError
from mammoctl.jobs.job import JOBS_ROOT

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

ROOTS = {"jobs": JOBS_ROOT, "data-ids": IDS_ROOT}
"""Part of a backup -> the folder on the master whose folders it holds."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_LIST = (
    '[ -d "$1" ] || exit 0; find "$1" -mindepth 1 -maxdepth 1 -type d ! -name ".*" -printf "%f\\n"'
)
# Records change while jobs run; tar says so with status 1, and has a whole file all the same.
_PACK = 'tar -C "$1" -cf - --exclude="./.*" . || [ $? = 1 ]'
_UNPACK = 'set -e; mkdir -p "$1"; umask 077; mkdir "$1/$2"; exec tar -C "$1/$2" -xpf -'
_PLACE = """
set -e
root=$1; from=$1/$2; force=$3; shift 3
for name; do
  [ -d "$from/$name" ] || continue
  if [ -e "$root/$name" ]; then
    [ "$force" = 1 ] || { echo "left $name"; continue; }
    rm -rf "$from/.old"; mv -T "$root/$name" "$from/.old"
  fi
  mv -T "$from/$name" "$root/$name"
  echo "placed $name"
done
"""


@dataclass
class Placed:
    """What became of folders: put in place, or left as they were."""

    placed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def there(nodes: Nodes, kind: str) -> list[str]:
    """Return the names of the folders of a kind (of `ROOTS`) on the master."""
    argv = ["sh", "-c", _LIST, "sh", ROOTS[kind]]
    said = nodes.run(nodes.cluster.master, argv, sudo=True)
    return sorted(said.stdout.split())


def save(nodes: Nodes, kind: str, target: Path) -> None:
    """Fetch all folders of a kind into one tar."""
    argv = ["sh", "-c", _PACK, "sh", ROOTS[kind]]
    nodes.fetch(nodes.cluster.master, argv, target, sudo=True)


def put_back(
    nodes: Nodes, kind: str, source: IO[bytes], names: Iterable[str], *, force: bool
) -> Placed:
    """Put folders of a tar in their place on the master, each whole or not at all.

    Args:
        nodes: the way there.
        kind: of `ROOTS`.
        source: the tar.
        names: those that are meant.
        force: replace those that are there.

    Raises:
        RemoteError: the master cannot unpack it.
    """
    master, root = nodes.cluster.master, ROOTS[kind]
    chosen = [name for name in names if _NAME.fullmatch(name)]
    if not chosen:
        return Placed()
    staging = f".restore-{secrets.token_hex(4)}"
    try:
        nodes.stream(master, ["sh", "-c", _UNPACK, "sh", root, staging], source, sudo=True)
        argv = ["sh", "-c", _PLACE, "sh", root, staging, "1" if force else "0", *chosen]
        said = nodes.run(master, argv, sudo=True).stdout.splitlines()
    finally:
        nodes.run(master, ["rm", "-rf", "--", f"{root}/{staging}"], sudo=True, check=False)
    done = Placed()
    for line in said:
        what, _space, name = line.partition(" ")
        (done.placed if what == "placed" else done.left).append(name)
    if missing := sorted({*chosen} - {*done.placed, *done.left}):
        raise RemoteError(
            f"{master.name}: the backup lists {', '.join(missing)} and does not have it",
            hint="take another copy of the backup",
        )
    return done
