"""Secrets beside the inventory that their owner has encrypted with ansible-vault.

``ansible-vault encrypt inventory/NAME/secrets/*`` is all it takes: Ansible decrypts the files by
itself, and so does whatever reads them here. The password is given as Ansible takes it, most simply
by a file or program that ``ANSIBLE_VAULT_PASSWORD_FILE`` names.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from mammoctl.errors import MammoctlError
from mammoctl.inventory import VAULT_HINT, ansible_env, ansible_program

_HEAD = b"$ANSIBLE_VAULT;"


class VaultError(MammoctlError):
    """Ansible-vault cannot be used, or refuses."""


def is_encrypted(content: bytes) -> bool:
    """Tell whether ansible-vault wrote this."""
    return content.startswith(_HEAD)


def read(path: Path) -> bytes:
    """Return the content of a file, decrypted where it is encrypted.

    Raises:
        VaultError: the password is missing or another one.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    return _run("decrypt", content, path) if is_encrypted(content) else content


def encrypt(content: bytes, path: Path) -> bytes:
    """Return what ansible-vault makes of the new content of a file.

    Raises:
        VaultError: the password is missing.
    """
    return _run("encrypt", content, path)


def require(folder: Path) -> None:
    """See that every encrypted file in a folder can be read, before anything stands on it.

    Raises:
        VaultError: one cannot; all is as it was.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_file():
            read(path)


def _run(verb: str, content: bytes, path: Path) -> bytes:
    # Through pipes: what is decrypted gets no name in any file system.
    done = subprocess.run(
        [ansible_program("ansible-vault"), verb, "--output", "-", "-"],
        input=content,
        env=ansible_env(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").splitlines()
        lines = [line.strip() for line in said if "ERROR" in line]
        raise VaultError(f"ansible-vault cannot {verb} {path}", details=lines[:3], hint=VAULT_HINT)
    return done.stdout
