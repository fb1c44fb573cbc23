from __future__ import annotations

import numpy as np
from scipy import ndimage

from wsseg.inference.refine import guided_filter


def _disc() -> np.ndarray:
    rows, columns = np.mgrid[:48, :48]
    return ((rows - 24) ** 2 + (columns - 20) ** 2 < 144)[None]


def test_a_blurred_border_moves_to_the_edge_of_the_image() -> None:
    disc = _disc()
    guide = np.where(disc, 0.6, 0.4).astype(np.float32)
    coarse = ndimage.shift(ndimage.gaussian_filter(disc.astype(np.float32), (0, 2, 2)), (0, 1, 1))
    before = ((coarse > 0.5) ^ disc).sum()
    after = ((guided_filter(coarse, guide, (4, 4)) > 0.5) ^ disc).sum()
    assert after < 0.3 * before


def test_where_the_image_is_flat_the_map_is_smoothed_only() -> None:
    coarse = _disc().astype(np.float32)
    found = guided_filter(coarse, np.full_like(coarse, 0.5), (2, 2))
    size = (1, 5, 5)
    expected = ndimage.uniform_filter(ndimage.uniform_filter(coarse, size), size)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_slices_without_a_map_stay_empty() -> None:
    maps = np.zeros((3, 48, 48), np.float32)
    maps[1] = _disc()[0]
    guide = np.random.default_rng(0).random(maps.shape, np.float32)
    found = guided_filter(maps, guide, (2, 3))
    assert found.any(axis=(1, 2)).tolist() == [False, True, False]
    assert found.min() >= 0
    assert found.max() <= 1
