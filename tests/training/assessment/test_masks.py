from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from wsseg.data.slices import LabelledSlices
from wsseg.data.targets import Targets
from wsseg.methods.base import Prediction
from wsseg.methods.prompt import Pass
from wsseg.methods.union import Union, UnionSettings
from wsseg.training.assessment.masks import Found, found_of


def _data(second: bool) -> LabelledSlices:
    """One scan of four slices; people drew in one square, or in another far from it too."""
    pixels = torch.zeros(4, 16, 16, dtype=torch.uint8)
    pixels[:, 3, 2:5] = 1
    if second:
        pixels[:, 12, 12:14] = 1
    targets = replace(Targets.unknown(4, 1, (16, 16)), pixels=pixels)
    return LabelledSlices(torch.zeros(4, 1, 16, 16), targets, False, ("a",), torch.zeros(4).long())


@pytest.mark.parametrize("second", [False, True])
def test_a_further_piece_stays_where_people_marked_one(second: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.zeros(4, 1, 16, 16)
    maps[:, 0, 2:7, 2:7], maps[:, 0, 11:14, 11:14] = 0.9, 0.9
    monkeypatch.setattr(Union, "predict", lambda *_: Prediction(maps, torch.ones(4, 1)))
    assert found_of(Union(UnionSettings(), 1), _data(second), Pass(4)) == Found(not second, ())


def test_a_class_that_is_in_no_mask_is_named_and_nothing_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Union, "predict", lambda *_: Prediction(torch.zeros(4, 1, 16, 16), torch.zeros(4, 1)))
    assert found_of(Union(UnionSettings(), 1), _data(False), Pass(4)) == Found(False, (0,))
