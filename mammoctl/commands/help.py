"""How help looks: plain sections, folded to the terminal, in colour where there is one.

Typer's own pages of boxes need a Markdown parser and a highlighter of source code, which take
longer to load than everything else that `--help` does.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

import typer
from typer.core import TyperArgument

WIDTH = 100
"""Columns that are used at most: longer lines are hard to read."""

_NAMES = 34  # columns of a name, beyond which its meaning begins on the next line


class HelpPage:
    """Mixed into Typer's commands and groups: writes their help."""

    def format_help(self: Any, ctx: Any, formatter: Any) -> None:
        """Write usage, what the command does, its commands, arguments and options."""
        formatter.write_usage(ctx.command_path, usage(self, ctx), bold("Usage: "))
        for block in unfolded(self.help or "").split("\n\n"):
            formatter.write_paragraph()
            if "\n" in block or block.startswith(" "):
                formatter.write(f"{block}\n")
            else:
                formatter.write_text(block)
        for heading, rows in commands(self).items():
            section(formatter, heading, rows)
        for heading, rows in parameters(self, ctx).items():
            section(formatter, heading, rows)


def usage(command: Any, ctx: Any) -> str:
    """Return what follows a command's name where it is shown how to write it."""
    return " ".join(
        piece.replace("[[", "[").replace("]]", "]").replace("...]...", "...]")
        for piece in command.collect_usage_pieces(ctx)
    )


def commands(group: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the commands of a group with the first sentences of their help, by heading."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, command in getattr(group, "commands", {}).items():
        if not command.hidden:
            panel = getattr(command, "rich_help_panel", None)
            heading = panel if isinstance(panel, str) else "Commands"
            first = unfolded(command.help or "").partition("\n\n")[0]
            found.setdefault(heading, []).append((name, first))
    return found


def parameters(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the parameters of a command with their help, by heading."""
    found: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        panel = getattr(param, "rich_help_panel", None)
        own = "Arguments" if isinstance(param, TyperArgument) else "Options"
        if record := param.get_help_record(ctx):
            found.setdefault(panel if isinstance(panel, str) else own, []).append(record)
    return found


def section(formatter: Any, heading: str, rows: list[tuple[str, str]]) -> None:
    """Write a heading and below it names with their meanings, if there are any."""
    if rows:
        with formatter.section(bold(heading)):
            formatter.write_dl([(bright(name), text) for name, text in rows], col_max=_NAMES)


def unfolded(text: str) -> str:
    """Return a help with each paragraph on one line; blocks that are indented stay as they are."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("  ") and lines and "\n  " in lines[-1]:
            lines[-1] += f"\n{paragraph}"  # examples, one below the other
        else:
            is_block = "\n  " in f"\n{paragraph}"
            lines.append(paragraph if is_block else paragraph.replace("\n", " "))
    return "\n\n".join(lines)


def bold(text: str) -> str:
    """Return a heading as the terminal shows it."""
    return _styled(text, bold=True)


def bright(text: str) -> str:
    """Return a name as the terminal shows it."""
    return _styled(text, fg="cyan")


def _styled(text: str, **style: Any) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not sys.stdout.isatty() else typer.style(text, **style)
