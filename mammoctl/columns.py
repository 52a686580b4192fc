"""A table without lines that leaves columns out where the terminal is narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_GAP = 2
_PIPE_WIDTH = 160
"""Columns of text where nobody tells how many there are."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its head.
        cells: one text per row.
        spare: how soon it may be left out where there is no room; 0 for never.
    """

    title: str
    cells: Sequence[str]
    spare: int = 0

    @property
    def width(self) -> int:
        """Columns of text that it takes."""
        return max(len(cell) for cell in [self.title, *self.cells])


def fits(table: Sequence[Column], width: int | None) -> bool:
    """Tell whether all columns fit (see `fit`)."""
    return sum(column.width + _GAP for column in table) <= (width or _PIPE_WIDTH)


def fit(table: Sequence[Column], width: int | None) -> list[Column]:
    """Leave out columns, the most dispensable first, until the rest fits.

    Args:
        table: the columns.
        width: of the terminal; None where there is none.
    """
    kept = list(table)
    while not fits(kept, width):
        last = max(kept, key=lambda column: column.spare)
        if last.spare == 0:
            break
        kept.remove(last)
    return kept


def grid(
    table: Sequence[Column], width: int | None, styles: Mapping[str, str] | None = None
) -> Table:
    """Return the table as it is drawn, no wider than ``width`` as far as that goes.

    Args:
        table: the columns, all of the same length.
        width: see `fit`.
        styles: style of a cell by its first word.
    """
    from rich.table import Table
    from rich.text import Text

    kept = fit(table, width)
    drawn = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold cyan")
    for column in kept:
        drawn.add_column(column.title, overflow="fold")
    known = styles or {}
    for row in zip(*(column.cells for column in kept), strict=True):
        drawn.add_row(*(Text(cell, style=known.get(cell.split(" ")[0], "")) for cell in row))
    return drawn
