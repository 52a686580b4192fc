"""Public keys, as people hand them over."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mammoctl.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_KIND = re.compile(r"(sk-)?(ssh-(rsa|ed25519)|ecdsa-sha2-nistp(256|384|521))(@openssh\.com)?")
_RSA_BITS = 2048


@dataclass(frozen=True)
class PublicKey:
    """A public key: its kind and its base64."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint as ``ssh-keygen -l`` shows it."""
        return fingerprint(self.blob)


def fingerprint(blob: str) -> str:
    """Return the fingerprint of a key's base64."""
    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def check_name(name: str) -> str:
    """Return the name of an operator.

    Raises:
        UsageError: it cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for an operator",
            hint="letters, digits, dots, dashes and underscores, 32 at most",
        )
    return name


def read(path: Path) -> PublicKey:
    """Read a file with one public key.

    Raises:
        UsageError: it is none, a private one, or too weak.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="name the file of the key") from None
    except UnicodeDecodeError:
        text = ""
    if "PRIVATE KEY" in text:
        raise UsageError(
            f"{path} is a private key: it belongs to its owner alone",
            hint="ask for the file beside it that ends in .pub",
        )
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    fields = lines[0].split() if len(lines) == 1 else []
    if len(fields) < 2 or not _KIND.fullmatch(fields[0]) or not _is_of(fields[0], fields[1]):
        raise UsageError(
            f"{path} is not one public key of OpenSSH",
            hint="ssh-keygen -t ed25519 makes a pair; the file that ends in .pub is meant",
        )
    _require_strong(path, fields[0])
    return PublicKey(fields[0], fields[1])


def _is_of(kind: str, blob: str) -> bool:
    """Tell whether a key's base64 begins with its kind, as it must."""
    try:
        data = base64.b64decode(blob, validate=True)
    except binascii.Error:
        return False
    size = int.from_bytes(data[:4], "big")
    return data[4 : 4 + size] == kind.encode() and len(data) > 4 + size


def _require_strong(path: Path, kind: str) -> None:
    argv = ["ssh-keygen", "-l", "-f", str(path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    bits = said.stdout.partition(" ")[0]
    if said.returncode or not bits.isdigit():
        raise UsageError(
            f"{path}: OpenSSH does not take this key: {said.stderr.strip() or said.stdout.strip()}",
            hint="ssh-keygen -t ed25519 makes one that it takes",
        )
    if kind == "ssh-rsa" and int(bits) < _RSA_BITS:
        raise UsageError(
            f"{path}: an RSA key of {bits} bits is too weak",
            hint="ssh-keygen -t ed25519 makes a better one",
        )
