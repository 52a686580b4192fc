# SPDX-License-Identifier: Apache-2.0
"""Our marked block in a file of others: put in, and taken out again without a trace."""

from __future__ import annotations

import re

BEGIN, END = "# BEGIN mammoctl", "# END mammoctl"
DISABLED = "#mammoctl: "


def with_block(text, block, disable):
    """Return ``text`` with our block first and the disabled lines commented out (pure)."""
    rest = without_block(text)
    if disable:
        pattern = re.compile(disable)
        lines = rest.splitlines(keepends=True)
        rest = "".join(DISABLED + line if pattern.search(line) else line for line in lines)
    return "%s\n%s\n%s\n%s" % (BEGIN, block.rstrip("\n"), END, rest)


def without_block(text):
    """Return ``text`` without our block and with the lines back that it had disabled (pure)."""
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if line.rstrip("\n") == BEGIN:
            inside = True
        elif line.rstrip("\n") == END:
            inside = False
        elif not inside:
            kept.append(line[len(DISABLED) :] if line.startswith(DISABLED) else line)
    return "".join(kept)
