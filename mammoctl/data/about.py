"""What is known about an image beside its label: words from short lists, no free text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from mammoctl.data import ids

MAX_AGE = 90
"""Ages above 89 single people out (45 CFR 164.514 b): they are all written as this."""

VIEWS = frozenset(
    {
        "CC",
        "MLO",
        "ML",
        "LM",
        "LMO",
        "XCC",
        "XCCL",
        "XCCM",
        "FB",
        "SIO",
        "ISO",
        "CV",
        "AT",
        "SPECIMEN",
    }
)
DENSITIES = {
    **{letter: letter for letter in "ABCD"},
    **dict(zip("1234", "ABCD", strict=True)),
    # mini-MIAS describes the tissue in its own three words
    **{word.upper(): word for word in ("fatty", "glandular", "dense")},
}
_SIDES = {"L": "L", "LEFT": "L", "R": "R", "RIGHT": "R", "B": "B", "BOTH": "B"}


@dataclass(frozen=True, slots=True)
class About:
    """Properties of an image, each empty where unknown.

    Attributes:
        view: one of `VIEWS`.
        laterality: ``L``, ``R`` or ``B``.
        age: of the patient in whole years, at most `MAX_AGE`.
        density: BI-RADS ``A`` to ``D``, or mini-MIAS's ``fatty``, ``glandular``, ``dense``.
        machine: which machine: any text before, a keyed hash after `travelling`.
        site: which site: as `machine`.
    """

    view: str = ""
    laterality: str = ""
    age: str = ""
    density: str = ""
    machine: str = ""
    site: str = ""

    def over(self, other: About) -> About:
        """Return this, with what it lacks taken from `other`."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in mine.items() if value})


NOTHING = About()
NAMES = tuple(field.name for field in fields(About))
_COLUMNS = {"machine_id": "machine", "site_id": "site", **{name: name for name in NAMES}}


def from_columns(values: Mapping[str, str]) -> About:
    """Take what a manifest's row says; a value that is not on its list counts as unknown."""
    found = {
        _COLUMNS[column]: text.strip() for column, text in values.items() if column in _COLUMNS
    }
    return About(
        view=view(found.get("view", "")),
        laterality=_SIDES.get(found.get("laterality", "").upper(), ""),
        age=age(found.get("age", "")),
        density=DENSITIES.get(found.get("density", "").upper(), ""),
        machine=found.get("machine", ""),
        site=found.get("site", ""),
    )


def view(text: str) -> str:
    """Return a view of `VIEWS`, or nothing."""
    word = text.strip().upper()
    return word if word in VIEWS else ""


def age(text: str) -> str:
    """Return whole years from ``57``, ``57.0`` or DICOM's ``057Y``, or nothing."""
    match = re.fullmatch(r"(\d{1,3})(?:\.\d*)?Y?", text.strip().upper())
    return str(min(int(match[1]), MAX_AGE)) if match and int(match[1]) else ""


def travelling(about: About, key: bytes) -> About:
    """Return what may leave the control machine: machine and site as keyed hashes."""
    hashed = {
        name: ids.pseudonym(key, name, text)
        for name in ("machine", "site")
        if (text := getattr(about, name))
    }
    return replace(about, **hashed)
