"""Commands in hints name the cluster as the user has named it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from mammoctl import console, findings, pasted
from mammoctl.cli import app
from mammoctl.errors import MammoctlError
from mammoctl.status.node import UNITS


@pytest.fixture
def ward():
    pasted.remember("my ward")
    yield
    pasted.remember(None)


def taking(command, path=()):
    """Yield the commands that name a cluster as all of them do."""
    for name, sub in getattr(command, "commands", {}).items():
        yield from taking(sub, (*path, name))
    if any(one.name == "inventory" and one.callback for one in command.params):
        yield " ".join(path)


def test_every_command_that_takes_an_inventory_is_known():
    known = set(pasted.COMMANDS) - {"bundle lock"}  # whose help for it is its own
    assert known == set(taking(typer.main.get_command(app)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mammoctl start; then", "mammoctl start -i 'my ward'; then"),
        ("`mammoctl data push F --name N`", "`mammoctl data push -i 'my ward' F --name N`"),
        ("mammoctl ssh n1 -- ps 3", "mammoctl ssh -i 'my ward' n1 -- ps 3"),
        ("mammoctl verify -i ward, then go", "mammoctl verify -i ward, then go"),
        ("mammoctl provision --resume -i ward", "mammoctl provision --resume -i ward"),
        ("mammoctl bundle create; mammoctl lab up", "mammoctl bundle create; mammoctl lab up"),
        ("/opt/mammoctl status", "/opt/mammoctl status"),
        ("mammoctl restart-all", "mammoctl restart-all"),
    ],
)  # fmt: skip
def test_completed(ward, text, expected):
    assert pasted.complete(text) == expected


def test_hints_notes_and_mends_are(ward, capsys):
    console.error(MammoctlError("no", hint="mammoctl provision"))
    console.note("next: mammoctl verify")
    console.warn("see mammoctl status")
    told = capsys.readouterr().err
    assert [line.endswith("-i 'my ward'") for line in told.splitlines()[1:]] == [True] * 3
    one = findings.Finding("n1", "down", "mammoctl start --node n1")
    assert findings.lines([one])[1] == "    mend: mammoctl start -i 'my ward' --node n1"
    assert one.as_json()["mend"] == "mammoctl start -i 'my ward' --node n1"


def test_who_named_none_needs_none():
    assert pasted.complete("mammoctl status") == "mammoctl status"


def test_a_service_in_a_command_for_logs_is_given_as_one():
    bare = re.compile(rf"mammoctl logs (?:{'|'.join(UNITS)})")
    texts = {path: path.read_text() for path in Path(pasted.__file__).parent.rglob("*.py")}
    assert len(texts) > 100
    assert [path.name for path, text in texts.items() if bare.search(text)] == []
