"""What `upgrade` tells before it asks, and how it asks."""

import io
import sys

import pytest

from mammoctl import console
from mammoctl.commands.upgrade import changes
from mammoctl.errors import UsageError


def requirements(**versions):
    return "".join(f"{n}=={v} --hash=sha256:{'0' * 64}\n" for n, v in versions.items())


def test_only_what_differs_is_told():
    before = requirements(numpy="2.4.6", six="1.17.0", gone="1")
    after = requirements(numpy="2.4.6", six="1.18.0", new="2")
    assert changes(before, after) == [
        ("gone", "1", ""),
        ("new", "", "2"),
        ("six", "1.17.0", "1.18.0"),
    ]
    assert changes(before, before) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_who_says_yes_goes_on(monkeypatch, answer):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    console.confirm("Upgrade?", yes=False)


@pytest.mark.parametrize("answer", ["\n", "n\n", "", "yesterday\n"])
def test_anything_else_ends_it(monkeypatch, answer):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    with pytest.raises(UsageError, match="nothing was done"):
        console.confirm("Upgrade?", yes=False)


@pytest.mark.parametrize("as_json", [True, False])
def test_nobody_is_asked_without_a_terminal_or_in_json_mode(monkeypatch, as_json):
    monkeypatch.setattr(sys, "stdin", Terminal("y\n") if as_json else io.StringIO("y\n"))
    with pytest.raises(UsageError) as refused:
        console.confirm("Upgrade?", yes=False, as_json=as_json)
    assert "--yes" in refused.value.hint
    console.confirm("Upgrade?", yes=True, as_json=as_json)
