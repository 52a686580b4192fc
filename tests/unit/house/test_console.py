"""What the console asks, and when it does not."""

from __future__ import annotations

import io
import signal
import sys

import pytest

from mammoctl import cli, console

CHOICES = {"d": "detach", "k": "kill it", "c": "continue"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [("k\n", "k"), ("Kill\n", "k"), ("\n", "d"), ("", "d"), ("what?\n", "d"), ("c", "c")],
)
def test_one_of_several(
    answer: str, chosen: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert console.choose("it is at work", CHOICES, default="d") == chosen
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "k  kill it" in shown.err
    assert "[d/k/c] (d)" in shown.err


def test_nobody_there_gets_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("k\n"))
    assert console.choose("it is at work", CHOICES, default="d") == "d"


def test_who_is_ended_by_another_program_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_ending", [])
    monkeypatch.setattr(sys, "stdin", Terminal("k\n"))
    with pytest.raises(KeyboardInterrupt):
        cli._end(signal.SIGTERM, None)
    assert console.choose("it is at work", CHOICES, default="d") == "d"
