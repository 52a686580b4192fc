"""The fenced blocks of a page of docs, and the commands in them."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_WHERE = '"$(command -v mammoctl)"'
_SEPARATORS = {"&&", "||", ";", "|", "&"}


class Block(NamedTuple):
    """A fenced block: the words behind its fence, the line of its first line, its text."""

    info: tuple[str, ...]
    line: int
    text: str


def blocks(page: str) -> list[Block]:
    """Return all blocks of a page, in order."""
    return [
        Block(
            tuple(found["info"].split()),
            page.count("\n", 0, found.start("text")) + 1,
            found["text"],
        )
        for found in _FENCE.finditer(page)
    ]


def commands(block: Block) -> list[list[str]]:
    """Return the words of each command of ``mammoctl`` in a block, after its name.

    What runs it as root, assignments before it and comments are left out.
    """
    found = []
    for line in block.text.replace("\\\n", " ").replace(_WHERE, "mammoctl").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        one: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _SEPARATORS:
                one.append(word)
                continue
            while one and (one[0] == "sudo" or re.match(r"\w+=", one[0])):
                one.pop(0)
            if one and one[0] == "mammoctl":
                found.append(one[1:])
            one = []
    return found


def script(parts: list[Block], mark: str) -> str:
    """Return one program of bash that runs blocks in order and stops at the first failure.

    Before each block a line ``MARK LINE`` appears on both streams.
    """
    lines = ["set -euo pipefail"]
    for part in parts:
        told = f"printf '\\n%s %s\\n' {shlex.quote(mark)} {part.line}"
        lines += [f"{told}; {told} >&2", part.text]
    return "\n".join(lines)


def said(output: str, mark: str) -> dict[int, str]:
    """Return what a stream had for each block, by the block's line."""
    pieces = re.split(rf"^{re.escape(mark)} (\d+)$", output, flags=re.MULTILINE)
    return {int(line): text for line, text in zip(pieces[1::2], pieces[2::2], strict=True)}
