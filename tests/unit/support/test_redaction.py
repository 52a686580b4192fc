"""What counts as a secret, and what is left of a text without it."""

from __future__ import annotations

import json
import time

import pytest

from mammoctl.redaction import REMOVED, Redactor, is_secret_name


@pytest.mark.parametrize(
    "name",
    [
        "password", "ansible_become_pass", "ansible_ssh_pass", "PGPASSWORD", "db-pass", "mypass",
        "spark.authenticate.secret", "spark.ssl.keyPassword", "fs.s3a.access.key", "apiKey",
        "NPM_TOKEN", "token", "api_key", "Authorization", "Cookie", "data_hmac", "NPM_AUTH",
        "fs.azure.account.key.x.blob.example.org", "credentials", "passphrase",
    ],
)  # fmt: skip
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "ansible_ssh_private_key_file", "spark.authenticate", "BlockTokenSecretManager", "key",
        "hadoop.http.authentication.signature.secret.file", "auth_to_local", "public",
        "dfs.block.access.token.enable", "spark.network.crypto.keyLength", "keyboard", "1", "",
    ],
)  # fmt: skip
def test_names_that_are_none(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("spark.authenticate.secret   x DEF", f"spark.authenticate.secret   {REMOVED}"),
        ('ansible_become_password: "x y z" # w', f'ansible_become_password: "{REMOVED}" # w'),
        ("ansible_become_pass: two words", f"ansible_become_pass: {REMOVED}"),
        ("PASSWORD = two words", f"PASSWORD = {REMOVED}"),
        ("-e ansible_become_password=x -i y", f"-e ansible_become_password={REMOVED} -i y"),
        ("password=a, user=b", f"password={REMOVED}, user=b"),
        ("password=p,ss;t x", f"password={REMOVED} x"),
        ('password=q"r s=t', f"password={REMOVED} s=t"),
        ("""-e '{"a_token": "x", "b": 1}'""", f"""-e '{{"a_token": "{REMOVED}", "b": 1}}'"""),
        (r'"{\"token\": \"x\", \"b\": 2}"', rf'"{{\"token\": \"{REMOVED}\", \"b\": 2}}"'),
        ("x --password hunt -i inv", f"x --password {REMOVED} -i inv"),
        ("java -Dspark.ssl.keyPassword=x Main", f"java -Dspark.ssl.keyPassword={REMOVED} Main"),
        ("export A_TOKEN=x B=1", f"export A_TOKEN={REMOVED} B=1"),
        ("https://u:p@ss@host/x", f"https://u:{REMOVED}@host/x"),
        ("https://ghtoken@host/x", f"https://{REMOVED}@host/x"),
        ("http://h/?token=x&y=2", f"http://h/?token={REMOVED}&y=2"),
        ("machine h login u password x", f"machine h login u password {REMOVED}"),
        ("curl -H 'X: Bearer abcdefghijkl'", f"curl -H 'X: Bearer {REMOVED}'"),
        ("a eyJhbGciOiJI.eyJzdWIi.abc_- b", f"a {REMOVED} b"),
        ("u:$6$abcdefgh$abcdefghijklmnopqrstuvwxyz:1", f"u:{REMOVED}:1"),
        (
            "<name>ssl.keystore.password</name>\n<value>x</value>",
            f"<name>ssl.keystore.password</name>\n<value>{REMOVED}</value>",
        ),
    ],
)  # fmt: skip
def test_a_line_without_its_secret(text, left):
    assert Redactor().text(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "sudo: a password is required",
        "Basic authentication is not configured",
        "user@host: Permission denied (publickey,password).",
        "INFO security.token.block.BlockTokenSecretManager: Block token key update",
        "spark.authenticate true",
        "spark.authenticate.secret: null",
        "hdfs://spark@n1:8020/x",
        "ansible_ssh_private_key_file: ~/.ssh/id",
        "0123456789abcdef" * 4,
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3n5kJm1oP7 admin@lab",
    ],
)
def test_what_helps_stays(text):
    assert Redactor().text(text) == text


def test_blocks_of_yaml_keep_their_lines():
    text = "a:\n  secrets:\n    x: one\n    y:\n      - two\n  my_token: >-\n    three\n  b: 1\n"
    clean = Redactor().text(text)
    assert not {"one", "two", "three"} & set(clean.split())
    assert clean.endswith("  b: 1\n")
    assert clean.count("\n") == text.count("\n")


def test_blocks_of_json_as_well():
    value = {"credentials": {"user": "one", "list": ["two"]}, "b": 1}
    text = json.dumps(value, indent=2)
    clean = Redactor().text(text)
    assert "one" not in clean
    assert "two" not in clean
    assert clean.endswith('"b": 1\n}')


def test_keys_and_vaults():
    body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"
    key = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\nQyNTU=\n-----END OPENSSH PRIVATE KEY-----"
    vault = f"x: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  {'6231' * 20}\n  {'3039' * 5}\ny: 2"
    for text in (key, f"cut off\n{body}\n", key[:120], vault):
        clean = Redactor().text(f"before\n{text}\nafter")
        assert body[:40] not in clean
        assert "6231" not in clean
        assert "3039" not in clean
        assert clean.startswith("before\n")
    assert Redactor().text(vault).endswith("\ny: 2")


def test_known_values_are_found_anywhere(tmp_path):
    redactor = Redactor()
    (tmp_path / "secret").write_text("correct/horse staple\n")
    redactor.know_file(tmp_path / "secret")
    redactor.know_file(tmp_path / "none")
    redactor.know_values({"a": [{"my_token": {"deep": "battery7"}}], "b": "stays"})
    redactor.know_settings("spark.authenticate.secret from-the-node\nother stays\n")
    redactor.know("abcd")
    redactor.know("no")
    text = "Xcorrect/horse stapleX correct%2Fhorse%20staple Xbattery7X from-the-node no stays"
    assert redactor.text(text) == (f"X{REMOVED}X {REMOVED} X{REMOVED}X {REMOVED} no stays")
    # short ones only as a word: they may be part of others by chance
    assert redactor.text("abcd abcde") == f"{REMOVED} abcde"
    assert redactor.removed["by value"] == 5


def test_plain_values():
    redactor = Redactor()
    redactor.know("12345678")
    value = {
        "password": "x", "token_file": "/t", "secret": None, "no_secret": False,
        "tokens": ["a", "b"], "list": ["token=abc", 12345678, 3, True], "n": {"API_KEY": 7},
    }  # fmt: skip
    assert redactor.value(value) == {
        "password": REMOVED, "token_file": "/t", "secret": None, "no_secret": False,
        "tokens": REMOVED, "list": [f"token={REMOVED}", REMOVED, 3, True],
        "n": {"API_KEY": REMOVED},
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["a=b," * 30_000, "a.b-" * 30_000, "A" * 200_000, "x://" * 50_000,
     "-----BEGIN A PRIVATE KEY-----\n" * 2000],
)  # fmt: skip
def test_long_lines_take_no_time(text):
    began = time.monotonic()
    Redactor().text(text)
    assert time.monotonic() - began < 10
