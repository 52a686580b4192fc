"""New values for a cluster's secrets, and the old ones kept until every node has the new.

A secret lies beside the inventory, in ``secrets/``. While it is being rotated, the value before
lies beside it under the same name with `BEFORE` at its end: a rotation that was cut off is known by
that, and goes on with the value that it made.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl import files, vault
from mammoctl.cluster import NotProvisioned
from mammoctl.errors import ConnectionFailed, MammoctlError
from mammoctl.status.node import NodeState

if TYPE_CHECKING:
    from mammoctl.status.state import ClusterState

SPARK = "spark_auth_secret"
"""What Spark's services and applications know each other by; role spark lays it down."""

BEFORE = ".before"

ROTATED = (SPARK,)

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 48  # as role spark makes the first one


class Busy(MammoctlError):
    """Work runs that would be broken off."""


def folder(inventory: Path) -> Path:
    """Return where the secrets of the inventory in a folder lie."""
    return inventory / "secrets"


def kept(inventory: Path) -> list[str]:
    """Return the names of the secrets that a rotation leaves as they are."""
    where = folder(inventory)
    found = [path.name for path in where.iterdir() if path.is_file()] if where.is_dir() else []
    ours = {*ROTATED, *(name + BEFORE for name in ROTATED)}
    return sorted(name for name in found if name not in ours and not name.startswith("."))


def begun(inventory: Path) -> list[str]:
    """Return the names of the secrets whose rotation has not come to its end."""
    return [name for name in ROTATED if (folder(inventory) / (name + BEFORE)).exists()]


def require(state: ClusterState, *, option: str = "") -> None:
    """Refuse where not every node can get the new secret now.

    Raises:
        ConnectionFailed: nodes do not answer; all of them are named.
        NotProvisioned: nodes have no settings yet.
    """
    silent = {n: out for n, out in state.nodes.items() if isinstance(out, MammoctlError)}
    if silent:
        raise ConnectionFailed(
            f"{len(silent)} of {len(state.nodes)} nodes do not answer: {', '.join(silent)}",
            details=[line for error in silent.values() for line in (error.message, error.hint)],
            hint="a secret is everybody's: mend these, or take a node out that does not come back "
            f"({f'mammoctl node remove NODE {option}'.rstrip()})",
        )
    bare = [n for n, s in state.nodes.items() if isinstance(s, NodeState) and s.record is None]
    if bare:
        raise NotProvisioned(
            f"{', '.join(bare)}: not provisioned, so there is no secret to rotate",
            hint=f"mammoctl provision {option}".rstrip(),
        )


def refuse_work(work: Iterable[str]) -> None:
    """Refuse while jobs or applications run.

    Raises:
        Busy: there are such; all are named.
    """
    if running := list(work):
        raise Busy(
            f"{', '.join(running)} {'runs' if len(running) == 1 else 'run'}: the restart of Spark "
            "would break that off",
            hint="wait until it has ended (mammoctl jobs list), or give --force: it may fail then",
        )


def begin(inventory: Path, names: Iterable[str] = ROTATED) -> bool:
    """Give secrets new values and keep those before; go on where that has been begun.

    Args:
        inventory: the inventory's folder.
        names: which.

    Returns:
        Whether a rotation was under way already; its values are used.

    Raises:
        OSError: they cannot be written.
        VaultError: one is encrypted, and the password is missing.
    """
    vault.require(folder(inventory))
    goes_on = False
    where = folder(inventory)
    where.mkdir(mode=0o700, exist_ok=True)
    for name in names:
        current = (where / name).resolve()  # it may be a link to a safer place
        before = where / (name + BEFORE)
        there = current.read_bytes() if current.exists() else b""
        if before.exists() and there and there != before.read_bytes():
            goes_on = True
            continue
        # The value before first: whenever this ends, one of the two files has it.
        if there:
            files.write(before, there, mode=0o600, durable=True)
        value = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)).encode() + b"\n"
        if vault.is_encrypted(there):
            value = vault.encrypt(value, current)
        files.write(current, value, mode=0o600, durable=True)
    return goes_on


def finish(inventory: Path, names: Iterable[str] = ROTATED) -> None:
    """Forget the values before, now that every node has the new ones."""
    for name in names:
        (folder(inventory) / (name + BEFORE)).unlink(missing_ok=True)
