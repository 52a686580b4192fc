"""What every command has in common: its help, how much it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from mammoctl import console
from mammoctl.commands.app import App
from mammoctl.commands.help import unfolded


@pytest.fixture
def app() -> Iterator[App]:
    app = App()

    @app.command()
    def work(name: str, count: int = 3) -> None:
        """Do something, and say so in a
        paragraph of two lines.

        Examples:
            work one

            work two
        """
        console.note(f"working on {name}")
        console.detail(f"{count} times")
        console.warn("it is late")
        console.result("done")

    @app.command()
    def rest() -> None:
        """Rest."""

    yield app
    console.set_volume(quiet=False, verbose=False)


@pytest.mark.parametrize(
    ("options", "said", "kept_quiet"),
    [
        ([], ["working on it", "late"], ["3 times"]),
        (["-q"], ["late"], ["working on it", "3 times"]),
        (["--verbose"], ["working on it", "late", "3 times"], []),
    ],
)
def test_how_much_is_said(
    app: App, options: list[str], said: list[str], kept_quiet: list[str]
) -> None:
    done = CliRunner().invoke(app, ["work", "it", *options])
    assert done.stdout == "done\n"
    assert all(words in done.stderr for words in said)
    assert not any(words in done.stderr for words in kept_quiet)


def test_by_the_environment(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMMOCTL_QUIET", "1")
    assert "working" not in CliRunner().invoke(app, ["work", "it"]).stderr
    monkeypatch.setenv("MAMMOCTL_QUIET", "")
    monkeypatch.setenv("MAMMOCTL_VERBOSE", "1")
    assert "3 times" in CliRunner().invoke(app, ["work", "it"]).stderr


def test_not_both_at_once(app: App) -> None:
    done = CliRunner().invoke(app, ["work", "it", "-q", "-v"])
    assert "exclude each other" in str(done.exception)
    assert done.exit_code != 0


def test_help_is_folded_by_the_terminal_and_names_no_types(app: App) -> None:
    shown = CliRunner().invoke(app, ["work", "--help"], env={"COLUMNS": "120"}).output
    assert "say so in a paragraph of two lines." in shown
    assert "work one \n" in " \n".join(line.rstrip() for line in shown.splitlines())
    assert "<" not in shown
    assert "NUMBER" in shown
    assert "<" not in CliRunner().invoke(app, ["--help"]).output


def test_examples_stay_lines_of_their_own() -> None:
    text = "First.\n\nTwo\nlines.\n\nExamples:\n    one\n\n    two\n\nThe end."
    assert unfolded(text) == ("First.\n\nTwo lines.\n\nExamples:\n    one\n    two\n\nThe end.")
