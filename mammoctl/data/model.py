"""What a scan of a folder finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mammoctl.data.about import NOTHING, About

LABELS = ("benign", "malignant")


@dataclass(frozen=True, slots=True)
class Image:
    """One image file.

    Attributes:
        path: where to read it.
        name: its path relative to the folder, with forward slashes.
        label: one of `LABELS`; empty for an image that is only to be judged.
        patient: the patient as the user names it; empty when unknown.
        size: bytes.
        mtime_ns: time of the last change, nanoseconds since the epoch.
        about: what the manifest says about it.
    """

    path: Path
    name: str
    label: str
    patient: str
    size: int
    mtime_ns: int
    about: About = NOTHING


@dataclass(slots=True)
class Problem:
    """Rows or files that cannot be used for one and the same reason."""

    title: str
    hint: str
    where: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Scan:
    """The images of a folder and everything that was odd about it.

    Attributes:
        images: usable images, sorted by name.
        problems: what must be mended or skipped, one entry per kind of problem.
        ignored: number of files that are no images.
        warnings: what does no harm but should be known.
        patient_source: ``manifest`` or ``pattern``; ``none`` if neither names a single patient.
    """

    images: list[Image] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=dict)
    ignored: int = 0
    warnings: list[str] = field(default_factory=list)
    patient_source: str = "none"

    @property
    def labels(self) -> dict[str, int]:
        """Number of images per label."""
        counts = Counter(image.label for image in self.images)
        return {label: counts[label] for label in LABELS}

    @property
    def size(self) -> int:
        """Bytes of all images."""
        return sum(image.size for image in self.images)

    def problem(self, kind: str, title: str, hint: str, where: str) -> None:
        """Note one more row or file that cannot be used."""
        self.problems.setdefault(kind, Problem(title, hint)).where.append(where)
