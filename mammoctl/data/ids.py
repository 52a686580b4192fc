"""Identifiers that say nothing: images and patients are named by keyed hashes.

The key is one secret per cluster, so that identifiers stay the same from push to push and cannot
be recomputed from a list of names by anybody who lacks it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from mammoctl import vault
from mammoctl.errors import DataError

ID_HEX_DIGITS = 16
_KEY_BYTES = 32


def image_id(key: bytes, content: bytes) -> str:
    """Return the id of an image: 16 hex digits that depend on its content alone."""
    return _keyed(key, b"image\0", content)


def patient_pseudonym(key: bytes, patient: str) -> str:
    """Return the pseudonym of a patient: 16 hex digits."""
    return _keyed(key, b"patient\0", patient.encode("utf-8", "surrogateescape"))


def pseudonym(key: bytes, purpose: str, text: str) -> str:
    """Return the pseudonym of a machine or a site: 16 hex digits."""
    return _keyed(key, purpose.encode() + b"\0", text.encode("utf-8", "surrogateescape"))


def remapped_uid(key: bytes, uid: str) -> str:
    """Return the DICOM UID that stands for another: equal ones stay equal (PS3.5 B.2)."""
    digest = hmac.new(key, b"uid\0" + uid.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return f"2.25.{int.from_bytes(digest.digest()[:16])}"


def shift_in_days(key: bytes, patient: str) -> int:
    """Return by how many days the dates of a patient are moved back: 1 to 3650."""
    digest = hmac.new(key, b"dates\0" + patient.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return int.from_bytes(digest.digest()[:8]) % 3650 + 1


def _keyed(key: bytes, purpose: bytes, value: bytes) -> str:
    digest = hmac.new(key, purpose, hashlib.sha256)
    digest.update(value)
    return digest.hexdigest()[:ID_HEX_DIGITS]


def load_key(cluster_folder: Path) -> bytes:
    """Return the cluster's key for identifiers, generating it on first use.

    Args:
        cluster_folder: the inventory's folder; the key lies in ``secrets/data_hmac`` (mode 0600).

    Raises:
        DataError: the key cannot be read or written, or is malformed.
    """
    path = cluster_folder / "secrets" / "data_hmac"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            text = vault.read(path).decode("ascii").strip()
        except FileNotFoundError:
            return _generate(path)
        key = bytes.fromhex(text)
    except (OSError, ValueError) as exc:
        raise DataError(
            f"cannot use the key for identifiers {path}: {exc}",
            hint="restore it from a backup; a new key gives every image and patient a new id",
        ) from exc
    if len(key) < _KEY_BYTES:
        raise DataError(
            f"the key for identifiers {path} is too short: {len(key)} bytes",
            hint="restore it from a backup; a new key gives every image and patient a new id",
        )
    return key


def _generate(path: Path) -> bytes:
    key = secrets.token_bytes(_KEY_BYTES)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(key.hex() + "\n")
        # link, not rename: of two first pushes at once, one key wins for both
        os.link(temporary, path)
    except FileExistsError:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    finally:
        temporary.unlink()
    return key
