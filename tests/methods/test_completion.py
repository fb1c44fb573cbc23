"""What is drawn becomes masks: by the network that ships, of shapes that it has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wsseg.data.kinds.placed import band_of
from wsseg.data.kinds.registry import KINDS
from wsseg.data.slices import LabelledSlices
from wsseg.data.targets import Targets
from wsseg.methods.prompt import Pass
from wsseg.methods.registry import load_method
from wsseg.methods.shared.labelling.completion import Window, complete, look
from wsseg.models.package import Recipe
from wsseg.models.shelf import find_package

SIZE, RADIUS = 64, 14


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return load_method(find_package("completion")).get_submodule("network")


def _disc() -> Tensor:
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return torch.hypot((row - 30.0) * 1.2, column - 34.0) < RADIUS


def _scan(targets: Targets, contrast: float = 0.6) -> LabelledSlices:
    noise = 0.05 * torch.randn(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images = (contrast * _disc() - 0.3 + noise)[:, None]
    return LabelledSlices(
        images.half(), targets, False, ("a",), torch.zeros(1, dtype=torch.long), tuple(KINDS.values())
    )


def _strokes(presence: list[int]) -> Targets:
    """A short stroke within the disc, and one of background far from it."""
    known = Targets.unknown(1, len(presence), (SIZE, SIZE))
    pixels = known.pixels.clone()
    pixels[0, 30, 28:40], pixels[0, 4, 4:60] = 1, 255
    return replace(known, pixels=pixels, presence=torch.tensor([presence], dtype=torch.int8))


def _box() -> Targets:
    known = Targets.unknown(1, 1, (SIZE, SIZE))
    boxes = known.boxes.clone()
    (top, left), (bottom, right) = torch.nonzero(_disc()).aminmax(dim=0)
    down, along = (torch.from_numpy(band_of(int(n) + 3)).int() for n in (bottom - top, right - left))
    boxes[0, 0, top - 1 : bottom + 2, left - 1 : right + 2] = (16 * down[:, None] + along).to(torch.uint8)
    return replace(known, boxes=boxes, presence=torch.ones(1, 1, dtype=torch.int8))


@pytest.mark.parametrize("targets", [_strokes([1]), _box()], ids=["stroke", "box"])
@pytest.mark.parametrize("contrast", [0.6, -0.6])
def test_a_stroke_and_a_box_become_the_shape_whether_bright_or_dark(
    network: nn.Module, targets: Targets, contrast: float
) -> None:
    (made,) = complete(network, _scan(targets, contrast), Pass(8))
    inside, outside = _disc(), ~_disc()
    assert (made[inside] == 1).float().mean() > 0.85
    assert (made[inside] == 255).float().mean() < 0.01
    assert (made[outside] == 1).float().mean() < 0.01
    assert (made == 255).sum() > (targets.pixels == 255).sum(), "what is around it is background"
    drawn = targets.pixels[0] > 0
    assert torch.equal(made[drawn], targets.pixels[0][drawn]), "what people drew stays"


def test_nothing_is_called_background_where_another_class_may_be(network: nn.Module) -> None:
    """Who has drawn the liver on a slice has not said that there is no spleen."""
    strokes = _strokes([1, -1])
    (open_,) = complete(network, _scan(strokes), Pass(8))
    (told,) = complete(network, _scan(_strokes([1, 0])), Pass(8))
    assert torch.equal(open_ == 255, strokes.pixels[0] == 255)
    assert (told == 255).sum() > (open_ == 255).sum()


def test_masks_and_slices_without_a_stroke_stay_as_they_are(network: nn.Module) -> None:
    whole = replace(
        _strokes([1]), pixels=torch.where(_disc(), 1, 255).to(torch.uint8)[None], whole=torch.ones(1).bool()
    )
    for targets in (whole, Targets.unknown(1, 1, (SIZE, SIZE))):
        assert torch.equal(complete(network, _scan(targets), Pass(8)), targets.pixels)


def test_slices_with_corrections_stay_as_they_are(network: nn.Module) -> None:
    """A patch where a mask was wrong is no stroke along the middle of a shape."""
    corrected = replace(_strokes([1]), corrected=torch.ones(1, dtype=torch.bool))
    assert torch.equal(complete(network, _scan(corrected), Pass(8)), corrected.pixels)


def test_a_class_of_which_nothing_is_sure_does_not_outweigh_all_others(network: nn.Module) -> None:
    """Three classes, of one of which no border can be seen, as it lies in what looks the same."""
    strokes = _strokes([1, 1, 0])
    pixels = strokes.pixels.clone()
    pixels[0, 55, 30:33] = 2
    made = complete(network, _scan(replace(strokes, pixels=pixels)), Pass(1))
    assert (made == 1).sum() > 10 * (pixels == 1).sum()


def test_a_single_pixel_is_seen_through_any_window() -> None:
    own = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    own[0, 30, 30] = True
    nothing = torch.zeros_like(own)
    for half in (12.0, 36.0, 50.0, 61.0, 80.0):
        seen = look(torch.rand(1, 1, SIZE, SIZE), own, nothing, nothing, [Window(30.0, 30.0, half)])
        assert seen[:, 1].any()
        assert not seen[:, 2:].any()


def test_where_no_border_is_seen_strokes_stay_as_they_are(network: nn.Module) -> None:
    """More would be doubtful than sure: a disc that cannot be told from what is around it."""
    strokes = _strokes([1])
    assert torch.equal(complete(network, _scan(strokes, contrast=0.0), Pass(8)), strokes.pixels)


def test_a_window_is_as_wide_as_strokes_of_others_are_far() -> None:
    drawn, others = np.zeros((2, SIZE, SIZE), np.bool_)
    drawn[30, 20:31], others[10] = True, True
    assert Window.around(drawn, others, boxed=False) == Window(30.0, 25.0, 11 / 2 + 1.5 * 20)
    assert Window.around(drawn, others, boxed=True) == Window(30.0, 25.0, 11 / 2 + 3.0)


def test_union_models_of_before_complete_what_is_drawn_too() -> None:
    recipe = find_package("union-heart-cine").recipe
    older = recipe.model_dump(mode="json") | {"parents": {}}
    assert Recipe.model_validate(older).parents["completion"].package == "completion"
