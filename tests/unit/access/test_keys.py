"""What counts as somebody's public key."""

from __future__ import annotations

import subprocess

import pytest

from mammoctl.access import keys
from mammoctl.errors import UsageError


def keygen(path, *options):
    argv = ["ssh-keygen", "-q", "-N", "", "-f", str(path), *options]
    subprocess.run(argv, check=True)
    return path.with_name(f"{path.name}.pub")


@pytest.mark.parametrize(
    "options", [("-t", "ed25519"), ("-t", "ecdsa"), ("-t", "rsa", "-b", "2048")]
)
def test_a_public_key(tmp_path, options):
    path = keygen(tmp_path / "id", *options, "-C", "maria at home")
    key = keys.read(path)
    argv = ["ssh-keygen", "-l", "-f", path]
    said = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert key.fingerprint in said.stdout
    assert path.read_text().startswith(f"{key.kind} {key.blob} ")


def test_a_private_key_is_refused_before_anything(tmp_path):
    keygen(tmp_path / "id", "-t", "ed25519")
    with pytest.raises(UsageError, match="is a private key") as caught:
        keys.read(tmp_path / "id")
    assert ".pub" in caught.value.hint


def test_a_weak_key_is_refused(tmp_path):
    path = keygen(tmp_path / "id", "-t", "rsa", "-b", "1024")
    with pytest.raises(UsageError, match="1024 bits is too weak"):
        keys.read(path)


def test_what_is_no_key(tmp_path):
    path = tmp_path / "x.pub"
    with pytest.raises(UsageError, match="no file"):
        keys.read(path)
    true = keygen(tmp_path / "id", "-t", "ed25519").read_text()
    kind, blob = true.split()[:2]
    for text in (
        "", "text", f"{kind} AAAA", f"ssh-rsa {blob}", f"{true}{true}", f"ssh-dss {blob}",
        f'command="x" {true}', "\x00\x01",
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(UsageError, match="is not one public key"):
            keys.read(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not one public key"):
        keys.read(path)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\nb", "a/b", "x" * 33, "é"])
def test_what_is_no_name(name):
    with pytest.raises(UsageError, match="no name"):
        keys.check_name(name)
    assert keys.check_name("maria.b-2_x") == "maria.b-2_x"
