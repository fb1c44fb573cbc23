from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wsseg.evaluation.preview import contact_sheet, with_legend
from wsseg.images.volume import SliceGrid, Volume

RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize("upside_down", [False, True])
def test_slices_bear_the_numbers_that_they_are_stored_under(upside_down: bool) -> None:
    """The picture of a scan that is stored from head to feet differs from its like by the numbers alone."""
    voxels = np.zeros((40, 40, 3), np.int16)
    voxels[10:20, 10:20] = 100
    plain = Volume(voxels, np.diag([1.0, 1, 4, 1]))
    other = Volume(voxels, np.diag([1.0, 1, -4, 1])) if upside_down else plain
    mask = np.zeros(voxels.shape, np.uint8)
    sheets = [np.asarray(contact_sheet(v, mask, SliceGrid.of(v), [RED])).astype(int) for v in (plain, other)]
    first, middle, last = np.split(np.any(sheets[0] != sheets[1], axis=2), 3, axis=1)
    assert (first.any(), middle.any(), last.any()) == (upside_down, False, upside_down)
    assert not first[20:].any()


def test_a_legend_names_every_class_in_as_many_lines_as_it_needs() -> None:
    sheet = Image.new("RGB", (160, 50), "blue")
    few, many = with_legend(sheet, {"liver": RED}), with_legend(sheet, {f"organ {k}": GREEN for k in range(9)})
    assert few.size == (160, 50 + 24)
    assert many.height > few.height
    assert np.array_equal(np.asarray(many)[:50], np.asarray(sheet))
    lines = (np.asarray(many)[50:] == 255).all(axis=2).reshape(-1, 24, 160)
    assert lines.any(axis=(1, 2)).all(), "letters in each"
    squares = (np.asarray(many)[50:] == GREEN).all(axis=2)
    assert squares.sum() == pytest.approx(9 * 13 * 13, rel=0.01)


def test_a_name_that_is_wider_than_the_picture_has_a_line_of_its_own() -> None:
    found = with_legend(Image.new("RGB", (60, 10)), {"a": RED, "a name that is far too long": GREEN, "b": RED})
    assert found.size == (60, 10 + 3 * 24)
