"""Commands that run another command: ``mammoctl VERB [NODE]... -- COMMAND``."""

from __future__ import annotations

from typing import Any

import typer

from mammoctl.commands.app import Command

_KEY = "mammoctl.command"


class Split(Command):
    """Keeps the words behind ``--`` apart: the parser would mix them with the nodes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the words behind the first ``--`` away; see `behind`."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_KEY] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


def behind(ctx: typer.Context) -> list[str]:
    """Return the words behind ``--``; none where there was no ``--``."""
    words: list[str] = ctx.meta.get(_KEY, [])
    return words


def command(words: list[str]) -> str | list[str]:
    """Return what is to be run: one word is a line of sh, several are an argv."""
    return words[0] if len(words) == 1 else words
