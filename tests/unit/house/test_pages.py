"""Pages name only commands and options that exist; the tutorial is run by the lab's tests."""

from __future__ import annotations

import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mammoctl.cli import app

ROOT = Path(__file__).resolve().parents[3]
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGE: Any = runpy.run_path(str(ROOT / "tests" / "lab" / "page.py"))
BLOCKS = PAGE["blocks"](TUTORIAL.read_text())
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KINDS = {("sh", "lab"), ("sh", "machines"), ("sh", "setup")}


def refused(words: list[str]) -> str:
    """Return why the command line does not take these words; empty when it does."""
    command, path = get_command(app), "mammoctl"
    while hasattr(command, "commands"):
        while words and words[0].startswith("-"):
            if words[0] not in [name for param in command.params for name in param.opts]:
                return f"{path} has no option {words[0]}"
            words = words[1:]
        if not words:
            return ""
        if words[0] not in command.commands or command.commands[words[0]].hidden:
            return f"{path} has no command {words[0]}"
        path = f"{path} {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_context(path, list(words))
    except Exception as exc:  # whichever of the parser's errors
        told = getattr(exc, "format_message", exc.__str__)()
        return f"{path}: {told}"
    return ""


def synopsis(line: str) -> str:
    """Return why a line that shows how a command is written names what there is not."""
    words = re.sub(r"[\[\]|]", " ", line).split()[1:]
    command, path = get_command(app), ["mammoctl"]
    while hasattr(command, "commands") and words:
        name = words.pop(0)
        if name not in command.commands:
            return f"{' '.join(path)} has no command {name}"
        command, path = command.commands[name], [*path, name]
    options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
    unknown = [word for word in words if re.match(r"--?\w", word) and word not in options]
    return f"{' '.join(path)} has no {unknown}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_command_on_a_page_exists(page: Path) -> None:
    wrong = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        shown = re.match(r"    (?:sudo )?(mammoctl .*)", line)
        if not shown or "[OPTIONS]" in line:
            continue
        if "[" in shown[1] and "'" not in shown[1]:  # how it is written, not what is typed
            told = [synopsis(shown[1].partition(" #")[0])]
        else:
            block = PAGE["Block"]((), number, shown[1])
            told = [refused(words) for words in PAGE["commands"](block)]
        wrong += [f"{page.name}:{number}: {why}" for why in told if why]
    assert wrong == []


def test_every_block_says_where_it_belongs() -> None:
    assert {block.info for block in BLOCKS} == KINDS
    text = TUTORIAL.read_text().splitlines()
    for block in BLOCKS:
        assert text[block.line - 1] == block.text.splitlines()[0]


def test_every_command_and_option_exists() -> None:
    found = [words for block in BLOCKS for words in PAGE["commands"](block)]
    assert len(found) > 25
    wrong = [why for words in found if (why := refused(words))]
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("mammoctl statsu", "no command statsu"),
        ("mammoctl names hosts", "no command names"),
        ("mammoctl -Z check", "no option -Z"),
        ('sudo "$(command -v mammoctl)" lab up --nodse 3', "--nodse"),
        ("A=1 mammoctl status --every much", "valid number"),
        ("ls && mammoctl data push x", "--name"),
        ("mammoctl data list extra # not --extra", "extra"),
        ("mammoctl logs | head", ""),
        ("mammoctl -K submit --data \\\n  a -- --folds 5  # comment", ""),
        ("echo mammoctl nonsense", ""),
    ],
)
def test_what_does_not_exist_is_noticed(line: str, why: str) -> None:
    block = PAGE["Block"](("sh",), 1, line)
    told = [refused(words) for words in PAGE["commands"](block)]
    assert re.search(why, "\n".join(told))
    assert bool(why) == any(told)


def test_the_lab_comes_down_where_it_came_up() -> None:
    lab = [words for b in BLOCKS if b.info == ("sh", "lab") for words in PAGE["commands"](b)]
    assert lab[0][:2] == ["lab", "up"] if lab[0][0] == "lab" else False
    assert lab[-1] == ["lab", "down", *lab[0][2:]]


def test_the_program_that_runs_a_page() -> None:
    parts = [
        PAGE["Block"](("sh",), 3, "x=one\necho $x\n"),
        PAGE["Block"](("sh",), 9, "echo two $x; false | true\n"),
        PAGE["Block"](("sh",), 12, "echo never\n"),
    ]
    done = subprocess.run(
        ["bash", "-c", PAGE["script"](parts, "@@@ line")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert {line: text.strip() for line, text in PAGE["said"](done.stdout, "@@@ line").items()} == {
        3: "one", 9: "two one"
    }  # fmt: skip
    assert set(PAGE["said"](done.stderr, "@@@ line")) == {3, 9}
