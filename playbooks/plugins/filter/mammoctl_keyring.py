# SPDX-License-Identifier: Apache-2.0
"""Takes the signing key out of NVIDIA's keyring package, as text that apt accepts, without installing the package."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path

ARMAG = b"!<arch>\n"
HEADER = 60
NEW_FORMAT, PUBLIC_KEY = 0x40, 6  # RFC 4880, 4.2 and 4.3


def members(package):
    """Return name -> content of the parts of a Debian package (an ``ar`` archive, deb(5))."""
    if not package.startswith(ARMAG):
        raise ValueError("it is no Debian package")
    found, at = {}, len(ARMAG)
    while at + HEADER <= len(package):
        name = package[at : at + 16].decode("ascii").strip().rstrip("/")
        size = int(package[at + 48 : at + 58])
        found[name] = package[at + HEADER : at + HEADER + size]
        at += HEADER + size + size % 2
    return found


def keyring_of(package):
    """Return the binary OpenPGP keyring below /usr/share/keyrings of a Debian package."""
    data = next((content for name, content in members(package).items() if name.startswith("data.tar")), None)
    if data is None:
        raise ValueError("it has no data.tar")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for item in tar:
            if item.isfile() and "usr/share/keyrings/" in item.name and item.name.endswith(".gpg"):
                stream = tar.extractfile(item)
                return stream.read() if stream else b""
    raise ValueError("it has no keyring below /usr/share/keyrings")


def first_packet(keyring):
    """Return (tag, body) of the first OpenPGP packet."""
    tag = keyring[0]
    if tag & NEW_FORMAT:
        first = keyring[1]
        if first < 192:
            return tag & 0x3F, keyring[2 : 2 + first]
        if first < 224:
            size = ((first - 192) << 8) + keyring[2] + 192
            return tag & 0x3F, keyring[3 : 3 + size]
        return tag & 0x3F, keyring[6 : 6 + int.from_bytes(keyring[2:6], "big")]
    width = 1 << (tag & 3)
    size = int.from_bytes(keyring[1 : 1 + width], "big")
    return (tag >> 2) & 0xF, keyring[1 + width : 1 + width + size]


def fingerprint(keyring):
    """Return the fingerprint of a keyring's first key in capital hexadecimal digits (version 4: RFC 4880, 12.2)."""
    tag, body = first_packet(keyring)
    if tag != PUBLIC_KEY:
        raise ValueError("its keyring does not start with a public key")
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324  by definition


def crc24(data):
    """Return the checksum of ASCII armour (RFC 4880, 6.1)."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _bit in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF


def armour(keyring):
    """Return a binary keyring as text (RFC 4880, 6.2)."""
    text = base64.b64encode(keyring).decode("ascii")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    check = "=" + base64.b64encode(crc24(keyring).to_bytes(3, "big")).decode("ascii")
    frame = "-----%s PGP PUBLIC KEY BLOCK-----"
    return "\n".join([frame % "BEGIN", "", *lines, check, frame % "END", ""])


def signing_key(path, sha256, key=None):
    """Return the signing key inside a keyring package as text.

    Args:
        path: the package on the control machine.
        sha256: its sum; anything else is refused.
        key: the fingerprint that the key must have, where it is known.
    """
    package = Path(path).expanduser().read_bytes()
    found = hashlib.sha256(package).hexdigest()
    if found != sha256:
        raise ValueError(f"{path} has the sum {found}, needed is {sha256}: it is not the package that is meant")
    try:
        keyring = keyring_of(package)
        if key and fingerprint(keyring) != key:
            raise ValueError(f"its key is {fingerprint(keyring)}, needed is {key}")
    except (ValueError, IndexError, tarfile.TarError) as error:
        raise ValueError(f"{path} cannot be used as a keyring package: {error}") from error
    return armour(keyring)


class FilterModule:
    """The filter of this file."""

    def filters(self):
        """Return name -> function."""
        return {"mammoctl_signing_key": signing_key}
