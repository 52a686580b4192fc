"""Secrets that their owner has encrypted with ansible-vault; the real program does it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mammoctl import inventory, rotation, vault
from mammoctl.data import ids

pytestmark = pytest.mark.programs

REPO = Path(__file__).resolve().parents[3]
SECRET = "s" * 48
HOSTS = """
all:
  hosts:
    node:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
  children: {spark_master: {hosts: {node: }}, spark_workers: {hosts: {node: }}}
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an inventory whose secrets are encrypted."""
    password = tmp_path / "password"
    password.write_text("the vault's\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "password")
    folder = tmp_path / "inventory" / "ward"
    (folder / "secrets").mkdir(parents=True)
    (folder / "hosts.yml").write_text(HOSTS)
    secret = folder / "secrets" / rotation.SPARK
    secret.write_bytes(vault.encrypt(f"{SECRET}\n".encode(), secret))
    return folder


def read_by_the_role(cluster: Path, *options: str) -> str:
    """Return the secret as role spark has it."""
    play = cluster / "play.yml"
    play.write_text(
        json.dumps(
            [
                {
                    "hosts": "all",
                    "gather_facts": False,
                    "vars_files": [str(REPO / "roles" / "spark" / "vars" / "main.yml")],
                    "tasks": [
                        {
                            "ansible.builtin.copy": {
                                "content": "{{ _spark_secret }}",
                                "dest": str(cluster / "seen"),
                                "mode": "0600",
                            }
                        }
                    ],
                }
            ]
        )
    )
    program = Path(sys.executable).with_name("ansible-playbook")
    argv = [program, "-i", cluster / "hosts.yml", play, *options]
    done = subprocess.run(
        argv, env=inventory.ansible_env(), cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return (cluster / "seen").read_text()


def test_both_readers_decrypt(cluster: Path) -> None:
    """Role spark, by Ansible's lookups, and everything that is Python."""
    path = cluster / "secrets" / rotation.SPARK
    assert SECRET not in path.read_text()
    assert vault.read(path) == f"{SECRET}\n".encode()
    assert read_by_the_role(cluster) == SECRET


def test_a_look_alone_makes_no_secret(cluster: Path) -> None:
    path = cluster / "secrets" / rotation.SPARK
    path.unlink()
    (cluster / "seen").write_text("")
    read_by_the_role(cluster, "--check")
    assert not path.exists()
    assert read_by_the_role(cluster) == path.read_text().strip()


def test_the_key_of_the_pseudonyms(cluster: Path) -> None:
    key = ids.load_key(cluster)
    path = cluster / "secrets" / "data_hmac"
    path.write_bytes(vault.encrypt(path.read_bytes(), path))
    assert ids.load_key(cluster) == key


def test_a_new_secret_is_encrypted_again(cluster: Path) -> None:
    path = cluster / "secrets" / rotation.SPARK
    rotation.begin(cluster)
    assert vault.is_encrypted(path.read_bytes())
    now = vault.read(path).decode().strip()
    assert now != SECRET
    assert len(now) == len(SECRET)
    assert vault.read(path.with_name(rotation.SPARK + rotation.BEFORE)).decode().strip() == SECRET


@pytest.mark.parametrize("password", ["of last year\n", None])
def test_without_the_password_nothing_is_begun(cluster: Path, password: str | None) -> None:
    given = cluster.parents[1] / "password"
    if password is None:
        given.unlink()
    else:
        given.write_text(password)
    secrets = cluster / "secrets"
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    with pytest.raises(vault.VaultError) as refused:
        rotation.begin(cluster)
    assert rotation.SPARK in refused.value.message
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in refused.value.hint
    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before


def test_an_inventory_in_a_vault_says_what_it_needs(cluster: Path) -> None:
    variables = cluster / "group_vars" / "all.yml"
    variables.parent.mkdir()
    variables.write_bytes(vault.encrypt(b"ansible_become_password: x\n", variables))
    source = cluster / "hosts.yml"
    assert "x" in json.dumps(inventory.read_document(source))
    (cluster.parents[1] / "password").write_text("another\n")
    with pytest.raises(inventory.InventoryError) as refused:
        inventory.read_document(source)
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in refused.value.hint
