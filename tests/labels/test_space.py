"""Classes, their voxel values, and states."""

from __future__ import annotations

import numpy as np
import pytest

from wsseg.errors import WssegError
from wsseg.labels.space import LabelSpace, presence_of_mask

HEART = LabelSpace(("RV", "Myo", "LV"))


class TestLabelSpace:
    def test_values_count_from_one_in_order(self) -> None:
        assert HEART.values() == {"RV": 1, "Myo": 2, "LV": 3}
        assert HEART.value("Myo") == 2
        assert len(HEART) == 3

    def test_at_most_254_classes(self) -> None:
        names = tuple(f"class {k}" for k in range(255))
        assert LabelSpace(names[:254]).value("class 253") == 254
        with pytest.raises(WssegError, match="255 given"):
            LabelSpace(names)

    @pytest.mark.parametrize(
        ("names", "reason"),
        [
            ((), "0 given"),
            (("a", "a"), "must be distinct"),
            (("a", ""), "not empty"),
            (("background", "a"), "always 0"),
            (("Background", "a"), "always 0"),
            (("Liver", "liver"), "must be distinct"),
            (("a", "slice"), '"slice" is a column of every table'),
            (("Case",), '"Case" is a column of every table'),
            (("slice_axis",), '"slice_axis" is a column of every table'),
            (("left\nkidney",), "cannot be printed, such as a line break"),
        ],
    )
    def test_names_that_no_viewer_could_show(self, names: tuple[str, ...], reason: str) -> None:
        with pytest.raises(WssegError, match=reason):
            LabelSpace(names)

    def test_unknown_name(self) -> None:
        with pytest.raises(WssegError, match='"liver" is unknown, known are: RV, Myo, LV'):
            HEART.value("liver")


def test_presence_of_a_mask() -> None:
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 2, 0], mask[0, 0, 3], mask[2, 3, 3] = 1, 2, 3
    presence = presence_of_mask(mask, classes=3)
    assert presence.dtype == np.int8
    assert presence.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]
    sideways = np.ascontiguousarray(mask.transpose(2, 0, 1))
    assert np.array_equal(presence_of_mask(sideways, classes=3, axis=0), presence)
