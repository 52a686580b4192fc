"""Find the breast on a mammogram: mend inversion, take markers off, frame it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# The search needs no detail: it works on a copy of at most this many pixels a side.
SEARCH_SIDE = 256

INVERTED = "inverted image mended"
MARKER = "marker removed"


@dataclass(frozen=True)
class Box:
    """Rows and columns of a part of a picture, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


def corner(box: Box, place: str) -> Box:
    """Return seven eighths of a box's sides: `place` names top or bottom, then left or right."""
    rows = max(1, round((box.bottom - box.top) * 7 / 8))
    columns = max(1, round((box.right - box.left) * 7 / 8))
    top = box.top if place[0] == "t" else box.bottom - rows
    left = box.left if place[1] == "l" else box.right - columns
    return Box(top, top + rows, left, left + columns)


def tidy(picture: Floats, *, invert: bool = True) -> tuple[Floats, Box, list[str]]:
    """Mend an inverted picture, take off what is not the breast, and say where the breast is.

    Args:
        picture: grey values 0 to 1, shape (rows, columns); changed in place.
        invert: look whether it is inverted; False where its header has settled that.

    Returns:
        The picture, the box of the breast with a margin of 2 % (the whole picture where no breast
        stands out from a background), and what was done, in words.
    """
    step = max(1, -(-max(picture.shape) // SEARCH_SIDE))
    warnings: list[str] = []
    if invert and is_inverted(picture[::step, ::step]):
        np.subtract(1.0, picture, out=picture)
        warnings.append(INVERTED)
    whole = Box(0, picture.shape[0], 0, picture.shape[1])
    found = components(picture[::step, ::step])
    if found is None:
        return picture, whole, warnings
    breast, others, background = found
    if others.any():
        for box, mask in _places(others, step, picture.shape):
            picture[box.top : box.bottom, box.left : box.right][mask] = background
        if others.mean() > 0.002:  # less is dust
            warnings.append(MARKER)
    return picture, _framed(breast, step, picture.shape), warnings


def is_inverted(small: Floats) -> bool:
    """Tell whether the background is bright: three of the four edges of a mammogram show it."""
    edge = max(1, min(small.shape) // 32)
    edges = [small[:edge], small[-edge:], small[:, :edge], small[:, -edge:]]
    levels = sorted(float(np.median(part)) for part in edges)
    low, high = (float(level) for level in np.quantile(small, [0.02, 0.98]))
    bright = low + 0.9 * (high - low)
    # The second darkest edge: the chest wall and a breast that fills its picture spare two.
    return levels[1] > bright and levels[1] > float(np.mean(small))


def components(small: Floats) -> tuple[Mask, Mask, float] | None:
    """Separate breast and other things from the background.

    The threshold lies a fifth of the way from the background to Otsu's threshold (1979, IEEE
    Trans. SMC 9): skin and fat are much darker than the tissue that Otsu's finds.

    Returns:
        The largest component, all others, both grown by a pixel, and the background's grey value;
        None where there is no background, or nothing on it.
    """
    from scipy import ndimage

    edges = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    darkest, background = (float(level) for level in np.quantile(edges, [0.05, 0.25]))
    middle = otsu(small)
    noise = 8.0 * (background - darkest)  # seven deviations above the mean of a normal noise
    limit = min(background + max(0.2 * (middle - background), noise, 0.02), middle)
    above = ndimage.gaussian_filter(small, 1.0) > limit
    opened = ndimage.binary_opening(above, np.ones((3, 3)))
    labels, count = ndimage.label(opened)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    breast: Mask = labels == 1 + int(np.argmax(sizes))
    stands_out = float(small[breast].mean()) - background > noise
    if not stands_out or not 0.02 <= breast.mean() <= 0.98:
        return None
    grown: Mask = ndimage.binary_dilation(breast, iterations=2)
    others: Mask = ndimage.binary_dilation(above & ~grown, iterations=2) & ~grown
    if others.sum() > breast.sum() / 4:
        others[:] = False  # no marker is that large: rather parts of a breast than of a film
    return grown, others, background


def otsu(values: Floats) -> float:
    """Return the threshold that separates two classes of grey values (0 to 1) best."""
    counts, edges = np.histogram(values, bins=256, range=(0.0, 1.0))
    centres = (edges[:-1] + edges[1:]) / 2.0
    below = np.cumsum(counts)
    above = below[-1] - below
    mass = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = mass / below - (mass[-1] - mass) / above
        between = below * above * difference**2
    best = np.flatnonzero(between[:-1] >= np.nanmax(between[:-1]) * (1 - 1e-9))
    return float(centres[best].mean())  # empty levels between the classes are all equally good


def _places(others: Mask, step: int, shape: tuple[int, ...]) -> list[tuple[Box, Mask]]:
    """Return where the other things are in the full picture, each with its mask."""
    from scipy import ndimage

    labels, _ = ndimage.label(others)
    places = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        box = Box(
            rows.start * step,
            min(rows.stop * step, shape[0]),
            columns.start * step,
            min(columns.stop * step, shape[1]),
        )
        mask = np.kron(labels[rows, columns] == number, np.ones((step, step), np.bool_))
        places.append((box, mask[: box.bottom - box.top, : box.right - box.left]))
    return places


def _framed(breast: Mask, step: int, shape: tuple[int, ...]) -> Box:
    rows, columns = np.flatnonzero(breast.any(1)), np.flatnonzero(breast.any(0))
    margin = max(1, round(0.02 * max(shape)))
    return Box(
        max(int(rows[0]) * step - margin, 0),
        min((int(rows[-1]) + 1) * step + margin, shape[0]),
        max(int(columns[0]) * step - margin, 0),
        min((int(columns[-1]) + 1) * step + margin, shape[1]),
    )
