from __future__ import annotations

import numpy as np
import pytest

from wsseg.inference.quality import doubt
from wsseg.inference.quality.doubt import LEVELS, Counts, retold


def counts(error: np.ndarray) -> Counts:
    """A thousand voxels of each doubt, so many of them wrong."""
    return Counts(np.full(LEVELS, 1000.0), 1000 * (1 - error))


def test_right_doubt_is_left_as_it_is() -> None:
    right = counts(np.arange(LEVELS) / 200)
    slope, offset = doubt.fit(right)
    assert (slope, offset) == (pytest.approx(1, abs=0.05), pytest.approx(0, abs=0.05))
    assert doubt.calibration_error(right) == pytest.approx(0, abs=1e-9)
    assert np.abs(doubt.calibrated(slope, offset).astype(int) - np.arange(LEVELS)).max() <= 2


def test_overconfidence_is_taken_back() -> None:
    """Three times as many are wrong as doubt says."""
    wrong = counts(np.minimum(0.5, 3 * np.arange(LEVELS) / 200))
    told = doubt.calibrated(*doubt.fit(wrong))
    assert told[20] > 40
    assert doubt.calibration_error(retold(wrong, told)) < 0.3 * doubt.calibration_error(wrong)
    assert told[0] == 0
    assert (np.diff(told.astype(int)) >= 0).all()


def test_what_nobody_takes_for_anything_is_not_counted() -> None:
    told, mask, truth = (np.array(values, np.uint8) for values in ([0, 0, 40, 0], [0, 1, 0, 0], [0, 1, 1, 1]))
    found = doubt.count(told, mask, truth)
    assert found.voxels.sum() == 3
    assert (found.voxels[0], found.right[0]) == (2, 1)
    assert (found.voxels[40], found.right[40]) == (1, 0)


def test_the_reliability_diagram_holds_every_voxel() -> None:
    levels = doubt.reliability(counts(np.arange(LEVELS) / 200))
    assert sum(level.voxels for level in levels) == 1000 * LEVELS
    assert [level.right for level in levels] == pytest.approx([level.stated for level in levels])
    assert levels[0].stated < levels[-1].stated
