from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wsseg.data.air import find_air
from wsseg.data.preprocess import scale_intensity


def _chest(air: NDArray[np.float32] | float = 0.0, reaching: bool = False) -> tuple[NDArray[np.float32], ...]:
    """A body of muscle with fat under the skin, dark lungs and bright blood, in 4 slices; and where the body is."""
    rows, columns = np.mgrid[:96, :96]
    radius = np.hypot((rows - 48) / (96 if reaching else 36), (columns - 48) / (96 if reaching else 42))
    plane = np.where(radius < 1, 200.0, 0)
    plane[radius < 0.92] = 55
    for centre in (26, 70):
        plane[np.hypot((rows - 44) / 20, (columns - centre) / 11) < 1] = 8
    plane[np.hypot(rows - 50, columns - 48) < 8] = 160
    grain = np.random.default_rng(0).normal(0, 4, (4, 96, 96))
    body = np.repeat(radius[None] < 1, 4, axis=0)
    return np.where(body, np.clip(plane + grain, 0, None), air).astype(np.float32), body


def _noise(mean: float, deviation: float) -> NDArray[np.float32]:
    return np.abs(np.random.default_rng(1).normal(mean, deviation, (4, 96, 96))).astype(np.float32)


AIRS = {
    "dark": 15.0,
    "as muscle": 40.0,
    "bright": 90.0,
    "brightest": 230.0,
    "brightest, noisy, cut off": np.minimum(_noise(228, 2), 230),
    "quiet": _noise(3, 2),
    "noisy": _noise(15, 6),
}


@pytest.mark.parametrize("air", AIRS.values(), ids=AIRS)
def test_whatever_the_air_is_a_scan_looks_the_same(air: NDArray[np.float32] | float) -> None:
    scan, body = _chest()
    plain, tissue, _ = scale_intensity(scan)
    found, same_tissue, outside = scale_intensity(_chest(air)[0])
    assert np.abs(found - plain)[body].mean() < 0.02
    assert (found[~body] == -1).mean() > 0.95
    assert (tissue == same_tissue).mean() > 0.98
    assert not (outside & body).sum() > 0.01 * body.sum()


@pytest.mark.parametrize("air", [15.0, _noise(15, 3)], ids=("constant", "noisy"))
def test_padding_around_such_air_changes_nothing(air: NDArray[np.float32] | float) -> None:
    around = ((0, 0), (20, 8), (0, 30))
    plain, *_ = scale_intensity(_chest(air)[0])
    padded, _, outside = scale_intensity(np.pad(_chest(air)[0], around))
    assert np.abs(padded[:, 20:-8, :-30] - plain).mean() < 0.02
    assert outside[:, :20].all()


def test_noise_as_high_as_dark_tissue_is_not_taken_for_tissue() -> None:
    """Its median would be the scale of intensities, and the body far too bright."""
    scan, body = _chest()
    plain, *_ = scale_intensity(scan)
    found, tissue, _ = scale_intensity(_chest((_noise(26, 8) * np.linspace(0, 1.1, 96)).astype(np.float32))[0])
    assert np.abs(found - plain)[body].mean() < 0.01
    assert abs(tissue.mean() - body.mean()) < 0.02


def test_dark_tissue_at_the_border_is_not_taken_for_noise() -> None:
    """A body that reaches the border in part, as an abdomen does: what is dark there sets no level for tissue."""
    scan, _ = _chest()
    reaching = scan.copy()
    reaching[:, :, :3] = np.random.default_rng(2).normal(45, 4, (4, 96, 3))
    level = (reaching - reaching.min()) / np.ptp(reaching)
    assert find_air(level.astype(np.float32), 0.08)[1] == 0.08


def test_a_body_that_fills_the_slices_has_no_air() -> None:
    scan, _ = _chest(reaching=True)
    assert not scale_intensity(scan)[2].any()


def test_lungs_are_no_air() -> None:
    """As dark as air or darker, but they do not reach the border."""
    scan, body = _chest(9.0)
    _, _, outside = scale_intensity(scan)
    assert (outside == ~body).mean() > 0.98
