import numpy as np
import pytest
from mammotrain.breast import INVERTED, MARKER, Box, is_inverted, otsu, tidy
from mammotrain.decode import FITS, decode
from packing import encode


def mammogram(rows=300, columns=240, *, marker=False, noise=0.0):
    """Half an ellipse at the left edge, dense in its middle, on black; grey values 0 to 1."""
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    distance = np.hypot((y - rows / 2) / (0.35 * rows), x / (0.6 * columns))
    picture = np.where(distance < 1, 0.25 + 0.5 * np.clip(1 - 2 * distance, 0, 1), 0)
    if marker:
        picture[20:50, columns - 60 : columns - 20] = 1.0
    picture += np.abs(np.random.default_rng(0).normal(0, noise, picture.shape)) if noise else 0
    return np.clip(picture, 0, 1).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("mirrored", [False, True])
def test_an_inverted_picture_is_mended(noise, mirrored):
    upright = mammogram(noise=noise)
    upright = np.ascontiguousarray(upright[:, ::-1]) if mirrored else upright
    assert not is_inverted(upright)
    picture, _, warnings = tidy(1 - upright)
    assert INVERTED in warnings
    assert np.abs(picture - upright).max() < 0.05
    assert INVERTED not in tidy(upright.copy())[2]


def test_a_breast_that_fills_the_picture_is_not_inverted():
    rng = np.random.default_rng(1)
    full = (0.4 + 0.2 * rng.random((200, 160))).astype(np.float32)
    full[:, 120:] = 0
    assert not is_inverted(full)
    assert not is_inverted(np.full((64, 64), 0.5, np.float32))


def test_markers_are_taken_off_and_the_breast_stays():
    clean = mammogram()
    picture, box, warnings = tidy(mammogram(marker=True))
    assert warnings == [MARKER]
    assert np.abs(picture - clean).max() == 0
    same, other, none = tidy(clean.copy())
    assert none == []
    assert np.array_equal(same, clean)
    assert box == other


def test_the_box_holds_the_breast_and_little_else():
    picture = mammogram()
    _, box, _ = tidy(picture.copy())
    rows, columns = np.nonzero(picture)
    assert 0 <= rows.min() - box.top < 15
    assert 0 < box.bottom - rows.max() < 15
    assert box.left == 0
    assert 0 < box.right - columns.max() < 15


def test_without_a_background_the_whole_picture_is_used():
    tissue = np.random.default_rng(2).normal(0.5, 0.03, (100, 80)).astype(np.float32)
    picture, box, warnings = tidy(tissue.copy())
    assert (box, warnings) == (Box(0, 100, 0, 80), [])
    assert np.array_equal(picture, tissue)


def test_a_large_second_part_is_not_taken_for_a_marker():
    picture = mammogram()
    picture[20:120, 170:230] = 0.4
    same, _, warnings = tidy(picture.copy())
    assert warnings == []
    assert np.array_equal(same, picture)


def test_otsu_lies_between_two_classes():
    values = np.concatenate([np.full(700, 0.2), np.full(300, 0.8)]).astype(np.float32)
    assert 0.2 <= otsu(values) < 0.8


def test_ways_to_fit():
    content = encode((mammogram() * 255).astype(np.uint8))
    results = {fit: decode(content, None, 64, fit).pixels[:, :, 0] for fit in FITS}
    filled = {fit: float((pixels > 20).mean()) for fit, pixels in results.items()}
    assert filled["crop"] > 1.5 * filled["squash"]
    # proportions: 0.7 * 300 rows to 0.6 * 240 columns
    rows, columns = np.nonzero(results["pad"] > 20)
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(210 / 144, rel=0.1)
    assert columns.min() == 0  # the chest wall stays at its edge
