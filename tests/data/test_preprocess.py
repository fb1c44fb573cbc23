from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import tissue
from wsseg.data.preprocess import View, prepare, scale_intensity
from wsseg.errors import WssegError
from wsseg.images.volume import Volume


def _head(shape: tuple[int, int, int] = (100, 120, 6)) -> np.ndarray:
    """An off-centre bright ellipse on air, brighter inside one slice."""
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    head = ((x - 60) / 25) ** 2 + ((y - 50) / 40) ** 2 < 1
    rng = np.random.default_rng(0)
    voxels = np.repeat((head * 100.0)[..., None], shape[2], axis=2) + rng.uniform(0, 2, shape)
    voxels[55:65, 45:55, 2] += 80
    return voxels


def _volume(voxels: np.ndarray) -> Volume:
    return Volume(voxels, np.diag([1.0, 1.0, 5.0, 1.0]))


@pytest.mark.parametrize(("factor", "offset"), [(1.0, 0.0), (0.001, 0.0), (37.5, -1024.0)])
def test_unit_and_offset_of_the_scan_cancel(factor: float, offset: float) -> None:
    plain, *_ = scale_intensity(np.moveaxis(_head(), 2, 0).astype(np.float32))
    changed, *_ = scale_intensity((np.moveaxis(_head(), 2, 0) * factor + offset).astype(np.float32))
    np.testing.assert_allclose(changed, plain, atol=2e-3)


def test_window_is_a_square_around_the_head() -> None:
    stack = prepare(_volume(_head()), View(32))
    assert stack.images.shape == (6, 1, 32, 32)
    assert abs(stack.box.height - 80) <= 2
    assert stack.box.width == stack.box.height
    assert abs(stack.box.top + stack.box.height / 2 - 60) <= 2
    assert abs(stack.box.left + stack.box.width / 2 - 50) <= 2


def test_window_is_square_in_millimetres() -> None:
    """A head sampled half as densely along its rows looks the same to the network."""
    plain = prepare(_volume(_head()), View(32))
    coarse = prepare(Volume(np.ascontiguousarray(_head()[::2]), np.diag([2.0, 1.0, 5.0, 1.0])), View(32))
    assert abs(2 * coarse.box.height - coarse.box.width) <= 2
    assert (coarse.images - plain.images).abs().mean() < 0.05


def test_maps_come_back_to_where_they_were() -> None:
    """A bright square in the scan, found in the network's image, is the same square again."""
    stack = prepare(_volume(_head()), View(64))
    found = stack.to_native((stack.images > 0.12).float())[:, 0] > 0.5
    assert found.shape == (6, 100, 120)
    expected = np.zeros((100, 120), bool)
    expected[55:65, 45:55] = True
    overlap = 2 * (found[2] & expected).sum() / (found[2].sum() + expected.sum())
    assert overlap > 0.85
    assert not found[[0, 1, 3, 4, 5]].any()
    rows, columns = np.nonzero(found[2])
    assert abs(rows.mean() - 59.5) < 0.6
    assert abs(columns.mean() - 49.5) < 0.6


@pytest.mark.parametrize("view", [View(48), View(48, pixel_mm=2.0), View(48, pixel_mm=0.5)])
@pytest.mark.parametrize("where", [(0, 0), (47, 47), (20, 31), (12, 40)])
def test_a_part_holds_all_that_comes_back(view: View, where: tuple[int, int]) -> None:
    """Windows as large as the head, and finer and coarser than its pixels; marks at their corners and in the middle."""
    stack = prepare(_volume(_head()), view)
    maps = torch.zeros(len(stack.images), 2, 48, 48)
    maps[2, 1, where[0], where[1]] = 1.0
    rows, columns = stack.extent(maps, 0.01)
    whole, found = stack.to_native(maps), stack.cropped(rows, columns).to_native(maps)
    assert whole.any()
    assert np.array_equal(whole[:, :, rows, columns], found)
    whole[:, :, rows, columns] = 0
    assert whole.max() <= 0.01
    assert found.size < whole.size / 4


def test_orientation_of_storage_does_not_matter() -> None:
    """The same patient stored flipped and transposed gives the same images."""
    plain = prepare(_volume(_head()), View(32))
    turned = np.ascontiguousarray(_head()[::-1, :, ::-1].transpose(2, 0, 1))
    affine = np.zeros((4, 4))
    affine[:, 0] = (0, 0, -5, 0)
    affine[:, 1] = (-1, 0, 0, 0)
    affine[:, 2] = (0, 1, 0, 0)
    affine[:, 3] = (99, 0, 25, 1)
    other = prepare(Volume(turned, affine), View(32))
    torch.testing.assert_close(other.images, plain.images)


def test_presence_follows_slices_wherever_they_are_stored() -> None:
    affine = np.diag([1.0, 1.0, -5.0, 1.0])
    stack = prepare(Volume(_head(), affine), View(32))
    presence = np.array([[0, 0, 1, 0, 0, -1]], np.int8)
    assert stack.ordered(presence)[:, 0].tolist() == [-1, 0, 0, 1, 0, 0]
    turned = Volume(np.ascontiguousarray(_head().transpose(2, 0, 1)), np.diag([5.0, 1.0, 1.0, 1.0]))
    sideways = prepare(turned, View(32))
    assert sideways.ordered(presence)[:, 0].tolist() == [0, 0, 1, 0, 0, -1]


def test_a_scan_of_air_or_of_one_slice_still_works() -> None:
    rng = np.random.default_rng(0)
    assert prepare(_volume(rng.uniform(0, 1, (20, 30, 1))), View(16)).images.shape == (1, 1, 16, 16)


def test_networks_see_pictures_upright_and_maps_come_back_to_where_they_were() -> None:
    picture, mask = tissue(0)
    scan = Volume(np.ascontiguousarray(picture.swapaxes(0, 1)[:, :, None]), np.diag([-1.0, -1.0, 1.0, 1.0]))
    stack = prepare(scan, View(32, colour=True))
    np.testing.assert_allclose((stack.images[0].movedim(0, -1).numpy() + 1) * 127.5, picture, atol=1e-3)
    stored = np.ascontiguousarray(mask.T[:, :, None])
    cut = np.ascontiguousarray(stack.grid.cut(stored))
    assert np.array_equal(stack.labels_to_network(cut)[0].numpy(), mask)
    assert np.array_equal(stack.to_network(cut.astype(np.float32))[0].numpy(), mask)
    back = stack.to_native(torch.from_numpy(mask)[None, None])[:, 0]
    assert np.array_equal(stack.grid.join(back), stored)
    assert stack.native.shape == stack.tissue.shape == cut.shape


def test_a_window_of_more_pixels_than_fit_is_refused() -> None:
    fine = Volume(_head(), np.diag([0.01, 0.01, 5.0, 1.0]))
    with pytest.raises(WssegError, match=r"6 slices of which the model looks at 64000 x 64000 pixels"):
        prepare(fine, View(32, pixel_mm=20.0))
