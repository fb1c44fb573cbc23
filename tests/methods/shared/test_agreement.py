from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from wsseg.data.targets import Targets
from wsseg.methods.shared.agreement import Agreement


def _square(top: int, bottom: int) -> torch.Tensor:
    found = torch.zeros(2, 1, 16, 16)
    found[0, 0, top:bottom, top:bottom] = 1
    return found


UNKNOWN = Targets.unknown(2, 1, (16, 16))


def _score(probabilities: torch.Tensor, targets: Targets, presence: torch.Tensor | None = None) -> float:
    agreement = Agreement(1)
    agreement.add(probabilities, torch.rand(2, 1) if presence is None else presence, targets)
    return agreement.score()


def test_drawn_pixels_alone_are_compared() -> None:
    pixels = UNKNOWN.pixels.clone()
    pixels[0, 4:8, 4], pixels[0, 0, :] = 1, 255
    drawn = replace(UNKNOWN, pixels=pixels)
    assert _score(_square(2, 12), drawn) == 1.0
    assert _score(_square(6, 12), drawn) == 0.0
    assert _score(_square(0, 12), drawn) == pytest.approx(2 * 4 / (4 + 4 + 12))


def test_a_mask_fills_its_box_from_side_to_side() -> None:
    boxes = UNKNOWN.boxes.clone()
    boxes[0, 0, 4:12, 4:12] = 17
    boxed = replace(UNKNOWN, boxes=boxes)
    diagonal = torch.zeros(2, 1, 16, 16)
    diagonal[0, 0, range(4, 12), range(4, 12)] = 1
    assert _score(diagonal, boxed) == 1.0
    assert _score(_square(4, 8), boxed) == pytest.approx(2 * 16 / (16 + 64))


def test_presence_is_looked_at_where_it_is_all() -> None:
    told = replace(UNKNOWN, presence=torch.tensor([[1], [0]], dtype=torch.int8))
    assert _score(_square(2, 8), told, torch.tensor([[0.4], [0.2]])) == 1.0
    assert _score(_square(2, 8), told, torch.tensor([[0.2], [0.4]])) == 0.0
    assert math.isnan(_score(_square(2, 8), UNKNOWN))
