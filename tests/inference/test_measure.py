from __future__ import annotations

import numpy as np
import pytest

from wsseg.errors import WssegError
from wsseg.images.volume import Volume
from wsseg.inference.measure import ejections, phases, volumes_ml
from wsseg.labels.space import LabelSpace

HEART = LabelSpace(("left", "wall"))


def test_volumes_are_in_millilitres_whatever_the_orientation() -> None:
    voxels = np.zeros((10, 10, 4), np.uint8)
    voxels[:5, :4, :2] = 1
    voxels[9, 9, 3] = 2
    oblique = np.array([[0, -2.0, 0, 5], [2.0, 0, 0, 3], [0, 0, -10.0, 1], [0, 0, 0, 1]])
    assert volumes_ml(Volume(voxels, oblique), HEART) == pytest.approx({"left": 40 * 0.04, "wall": 0.04})


def test_the_fuller_frame_is_diastole_in_either_order() -> None:
    full, empty = {"left": 120.0, "wall": 90.0}, {"left": 48.0, "wall": 95.0}
    for pair, told in (((full, empty), ("ED", "ES")), ((empty, full), ("ES", "ED"))):
        assert phases(*pair, ["left"]) == told
        found = ejections(*pair, ["left"])["left"]
        assert (found.end_diastolic_ml, found.end_systolic_ml, found.stroke_ml) == (120.0, 48.0, 72.0)
        assert found.fraction == pytest.approx(0.6)


def test_a_heart_that_was_not_found_is_not_measured() -> None:
    with pytest.raises(WssegError, match="no left was found"):
        ejections({"left": 0.0}, {"left": 0.0}, ["left"])
