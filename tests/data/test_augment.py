from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import rgb2hed

from wsseg.data.augment import (
    PLACES,
    Augmentation,
    Recolouring,
    Variety,
    augment,
    lifted,
    negative,
    places,
    recoloured,
    stained,
    stained_tissue,
)
from wsseg.data.targets import Targets

NONE = Augmentation(flip=False, angle=0.0, scale=1.0, shift=(0.0, 0.0), gamma=1.0, gain=1.0)


def _images() -> torch.Tensor:
    return torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


NO_LABELS = Targets.unknown(1, 1, (16, 16))


def test_nothing_drawn_changes_nothing() -> None:
    torch.testing.assert_close(augment(_images(), NO_LABELS, [NONE])[0], _images(), atol=1e-5, rtol=0)


def test_flip_mirrors_left_and_right_only() -> None:
    """Rows of a slice run along the patient's left and right."""
    flipped = augment(_images(), NO_LABELS, [Augmentation(True, 0.0, 1.0, (0.0, 0.0), 1.0, 1.0)])[0]
    torch.testing.assert_close(flipped, _images().flip(2), atol=1e-5, rtol=0)


def test_what_moves_in_is_air() -> None:
    moved = augment(torch.ones(1, 1, 16, 16), NO_LABELS, [Augmentation(False, 0.0, 1.0, (1.0, 0.0), 1.0, 1.0)])[0]
    assert (moved[0, 0, 8:] == -1).all()
    assert (moved[0, 0, :7] == 1).all()


def test_labels_move_with_their_image() -> None:
    """Labels painted where the image is bright stay there; no value in between arises."""
    images = torch.full((1, 1, 32, 32), -1.0)
    images[0, 0, 8:14, 10:24] = 1.0
    pixels = torch.where(images[:, 0] > 0, 3, 255).to(torch.uint8)
    known = replace(Targets.unknown(len(images), 1, images.shape[2:]), pixels=pixels)
    moved, found = augment(images, known, [Augmentation(True, 0.2, 1.1, (0.05, -0.03), 1.0, 1.0)])
    labels = found.pixels
    assert set(labels.unique().tolist()) <= {0, 3, 255}
    inside = (moved[:, 0] > 0) == (labels == 3)
    assert inside.float().mean() > 0.99
    assert (labels == 3).sum() > 60


def test_draws_stay_in_their_ranges_and_differ() -> None:
    rng = np.random.default_rng(0)
    draws = [Augmentation.draw(rng, Variety()) for _ in range(200)]
    assert {d.flip for d in draws} == {True, False}
    assert all(abs(d.angle) <= 0.2 and 0.89 <= d.scale <= 1.12 and 0.88 <= d.gain <= 1.12 for d in draws)
    assert len({d.angle for d in draws}) == 200


def test_lifted_tissue_keeps_its_median_and_air_stays_dark() -> None:
    """A scan whose air is 15 where another's is as bright as its darkest tissue, 28, of the same body."""
    image = torch.zeros(1, 16, 16)
    image[0, 4:12, 4:12] = torch.linspace(0.1, 0.5, 64).view(8, 8)
    tissue = image > 0
    for lift in (-0.3, 0.4):
        found = lifted(image, lift)
        assert (found[~tissue] == 0).all()
        torch.testing.assert_close(found[tissue].median(), image[tissue].median())
        contrast = (found[tissue].max() - found[tissue].min()) / (image.max() - image[tissue].min())
        assert (contrast < 1) == (lift > 0)
    assert torch.equal(lifted(image, 0.0), image)


def test_twice_the_eosin_is_twice_its_optical_density_and_leaves_haematoxylin_alone() -> None:
    """As scikit-image parts the dyes, but that its densities are in units of their own."""
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.4
    found = stained(images[0], (1.0, 2.0, 1.0))
    before, after = (rgb2hed(picture.permute(1, 2, 0).double().numpy()) for picture in (images[0], found))
    pure = before.min(axis=2) > 0.001  # a dye of negative density is set to 0 there
    assert pure.sum() > 5
    np.testing.assert_allclose(after[pure], before[pure] * (1, 2, 1), atol=2e-3)
    torch.testing.assert_close(stained(images[0], (1.0, 1.0, 1.0)), images[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("factors", [(1.0, 1.0, 1.0), (0.7, 1.3, 0.7), (1.3, 0.7, 1.3)])
def test_black_and_white_stay_a_picture(factors: tuple[float, float, float]) -> None:
    picture = torch.tensor([0.0, 1.0]).expand(3, 1, 2)
    found = stained(picture, factors)
    assert found.isfinite().all()
    assert (found[..., 1] == 1).all(), "no dye, no light taken away"
    assert ((found[..., 0] >= 0) & (found[..., 0] < 0.3)).all()


def test_stain_is_varied_only_where_asked_for() -> None:
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5
    known, draw = Targets.unknown(1, 1, (8, 8)), replace(NONE, stain=(0.5, 1.0, 2.0))
    plain, varied = (augment(images, known, [draw], Variety(stain=stain))[0] for stain in (0.0, 0.3))
    torch.testing.assert_close(plain, images, atol=1e-5, rtol=0)
    assert (varied - images).abs().max() > 0.02


def test_stain_is_drawn_for_each_dye_where_asked_for() -> None:
    rng = np.random.default_rng(0)
    draws = [Augmentation.draw(rng, stained_tissue(64)).stain for _ in range(100)]
    assert np.abs(np.log(draws)).max() <= stained_tissue(64).stain
    assert len(np.unique(draws)) == 300
    assert {Augmentation.draw(rng, Variety()).stain for _ in range(3)} == {NONE.stain}
    # The other draws are the same with and without.
    plain, varied = (Augmentation.draw(np.random.default_rng(5), Variety(stain=stain)) for stain in (0.0, 0.3))
    assert replace(varied, stain=NONE.stain) == plain


@pytest.mark.parametrize("crop", [20, 50])
def test_squares_of_tissue_come_from_all_over_the_tile_and_show_nothing_else(crop: int) -> None:
    """Every twenty-fifth of a tile, its corners too, is labelled in the squares; what is beside it is mirrored."""
    side, draws = 100, 400
    row, column = torch.meshgrid(torch.arange(side) // 20, torch.arange(side) // 20, indexing="ij")
    labels = (1 + 5 * row + column).to(torch.uint8).expand(draws, -1, -1)
    images = torch.full((draws, 1, side, side), 0.5)
    variety = replace(stained_tissue(crop), gamma=0.0, gain=0.0, stain=0.0)
    rng = np.random.default_rng(0)
    drawn = [Augmentation.draw(rng, variety) for _ in range(draws)]
    known = replace(Targets.unknown(draws, 1, labels.shape[1:]), pixels=labels)
    seen, found = augment(images, known, drawn, variety)
    labels = found.pixels
    assert seen.min() > 0.4, "nothing black from outside"
    assert (labels == 0).float().mean() < 0.2
    share = torch.bincount(labels.flatten().int(), minlength=26)[1:] / labels.numel() * 25
    assert share.min() > 0.1, share.view(5, 5)


def test_places_stay_with_what_lies_there() -> None:
    """A pixel's place is that of the unmoved slice, however it is moved."""
    heights = torch.tensor([0.25])
    whole = places(heights, (32, 32))
    assert whole.shape == (1, PLACES, 32, 32)
    assert (whole[0, 0] == 0.25).all()
    shown = (whole[:, 1:2] + whole[:, 2:]) / 2  # an image that is a function of the place
    variety = Variety(crop=24, placed=True, gamma=0, gain=0)
    draw = Augmentation(False, 0.3, 1.1, (0.1, -0.2), 1.0, 1.0)
    moved = augment(shown, Targets.unknown(1, 1, (32, 32)), [draw], variety, heights)[0]
    inside = (moved[0, 2].abs() < 0.9) & (moved[0, 3].abs() < 0.9)
    torch.testing.assert_close(moved[0, 0][inside], ((moved[0, 2] + moved[0, 3]) / 2)[inside], atol=1e-3, rtol=0)


def test_places_are_drawn_a_little_wrong() -> None:
    drawn = [Augmentation.draw(np.random.default_rng(seed), Variety(placed=True)).astray for seed in range(20)]
    assert len(set(drawn)) == 20
    assert Augmentation.draw(np.random.default_rng(0), Variety()).astray == (0.0, 0.0, 0.0)


def _tissue() -> torch.Tensor:
    """Intensities in [0, 1] of air, a dark, a usual and a bright part."""
    image = torch.zeros(1, 16, 16)
    image[0, 4:] = 0.4
    image[0, 8:10], image[0, 12:14] = 0.2, 0.7
    return image


@pytest.mark.parametrize(("power", "brighter"), [(-1.0, False), (0.5, True), (1.5, True)])
def test_another_sequence_keeps_usual_tissue_and_air(power: float, brighter: bool) -> None:
    plain = _tissue()
    other = recoloured(plain, Recolouring(power, 0.0, 0.0, 0.0, 0.3))
    assert (other[plain == 0] == 0).all()
    torch.testing.assert_close(other[plain == 0.4], plain[plain == 0.4])
    dark, bright = (float(other[0, row, 0]) for row in (8, 12))
    assert (bright > 0.4 > dark) == brighter
    assert (bright < 0.4 < dark) != brighter


def test_of_a_negative_bright_is_dark_and_air_is_air() -> None:
    plain = _tissue()[None] * 2 - 1
    other = negative(plain)
    assert other.shape == plain.shape
    assert (other[plain == -1] == -1).all()
    dark, bright = (float(other[0, 0, row, 0]) for row in (8, 12))
    assert dark > float(plain[0, 0, 4, 0]) > bright
    torch.testing.assert_close(negative(other)[0, 0, 12, 0], plain[0, 0, 12, 0], atol=0.05, rtol=0)


def test_a_place_is_dimmed() -> None:
    plain = _tissue()
    other = recoloured(plain, Recolouring(1.0, 0.5, 0.5, 0.0, 0.2))
    assert other[0, 11, 8] < 0.75 * plain[0, 11, 8]
    assert other[0, 5, 0] > 0.95 * plain[0, 5, 0]


def test_a_part_of_the_samples_is_recoloured() -> None:
    rng = np.random.default_rng(0)
    drawn = [Augmentation.draw(rng, Variety(recoloured=0.25)).recolouring for _ in range(400)]
    assert 60 < sum(each is not None for each in drawn) < 140
    assert Augmentation.draw(rng, Variety()).recolouring is None
    powers = [each.power for each in drawn if each is not None]
    assert min(powers) < 0 < max(powers)
