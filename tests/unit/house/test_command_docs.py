"""docs/commands.md is what the command line says of itself."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from mammoctl.cli import app

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "commands.md"


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "command-docs"))


def visible(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from visible(child, f"{path} {name}")


def sections() -> dict[str, str]:
    parts = re.split(r"^## (mammoctl.*)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_it_is_current(maker: dict[str, Any]) -> None:
    page = PAGE.read_text()
    assert maker["rendered"](page) == page, "run `make docs`"


def test_an_outdated_page_is_noticed(maker: dict[str, Any]) -> None:
    page = PAGE.read_text()
    row = next(line for line in page.splitlines() if line.startswith("| `--timeout`"))
    for outdated in (page.replace(row + "\n", ""), page.replace("## mammoctl status", "## x")):
        assert outdated != page
        assert maker["rendered"](outdated) == page


def test_every_command_option_and_example_is_there() -> None:
    there = sections()
    known = dict(visible(get_command(app), "mammoctl"))
    assert list(there) == list(known)
    everywhere = {"quiet", "verbose"}
    assert all(f"`--{name}`" in PAGE.read_text() for name in everywhere)
    for path, command in known.items():
        for param in command.params:
            shown = not param.hidden and param.name not in everywhere
            if param.param_type_name == "option" and shown:
                for name in (*param.opts, *param.secondary_opts):
                    assert f"`{name}`" in there[path], (path, name)
        for line in (command.help or "").partition("Examples:")[2].splitlines():
            assert line.strip() in there[path], (path, line)


def test_every_variable_of_the_environment_is_there() -> None:
    read = {
        name
        for path in (ROOT / "mammoctl").rglob("*.py")
        for name in re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", path.read_text())
    }
    page = PAGE.read_text().partition("<!--")[0]
    assert {"MAMMOCTL_INVENTORY", "MAMMOCTL_LOG_DIR"} <= read
    # who called sudo is sudo's to say, not the user's
    assert [name for name in sorted(read) if f"{name}" not in page and "SUDO_" not in name] == []
