from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shapes import make_shapes
from wsseg.evaluation.instances import aggregated_jaccard, split_nuclei


def _discs(*middles: tuple[int, int], radius: int = 12) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:100, :100]
    return np.any([np.hypot(rows - r, columns - c) < radius for r, c in middles], axis=0)


def test_nuclei_that_touch_are_parted_where_they_are_narrow() -> None:
    found = split_nuclei(_discs((30, 30), (30, 50), (70, 70)))
    assert found.max() == 3
    assert len({int(found[30, 25]), int(found[30, 55]), int(found[70, 70])}) == 3
    assert (found > 0).sum() == _discs((30, 30), (30, 50), (70, 70)).sum()
    assert found[30, 37] != found[30, 43]


def test_a_rough_border_splits_nothing_and_specks_are_none() -> None:
    rng = np.random.default_rng(0)
    rough = _discs((50, 50), radius=20) & ((rng.random((100, 100)) > 0.1) | _discs((50, 50), radius=17))
    rough[5, 5] = True
    assert split_nuclei(rough).max() == 1
    assert split_nuclei(np.zeros((20, 20), bool)).max() == 0


def test_cells_are_counted_as_they_were_made() -> None:
    made = make_shapes(3, 256)
    assert split_nuclei(np.isin(made.cells, [1, 2, 3])).max() == 3


def test_aji_by_hand() -> None:
    truth = np.zeros((20, 20), int)
    truth[:10, :10], truth[12:, 12:] = 1, 2
    found = np.zeros_like(truth)
    found[:10, :5], found[0:4, 15:20] = 1, 2
    # 50 shared; 100 covered with the first, 64 true that nothing met, 20 found that meet nothing.
    assert aggregated_jaccard(found, truth) == pytest.approx(50 / (100 + 64 + 20))
    assert aggregated_jaccard(truth, truth) == 1
    assert aggregated_jaccard(truth * 0, truth) == 0
    assert aggregated_jaccard(truth * 0, truth * 0) == 1


def test_two_nuclei_taken_for_one_cost_aji_though_not_dice() -> None:
    truth = split_nuclei(_discs((30, 30), (30, 50)))
    merged = (truth > 0).astype(int)
    assert aggregated_jaccard(merged, truth) < 0.6
