from __future__ import annotations

import math

import pytest
import torch

from wsseg.methods.shared.held_back import beside_borders, dice_beside_borders, volume_agreement


def _strokes() -> tuple[torch.Tensor, torch.Tensor]:
    """Two strokes of class 1 down a slice of 20 columns, at 3 and 9, and one of background at 11."""
    targets, known = torch.zeros(1, 6, 20, dtype=torch.long), torch.zeros(1, 6, 20, dtype=torch.bool)
    targets[:, :, [3, 9]] = 1
    known[:, :, [3, 9, 11]] = True
    return targets, known


def test_strokes_beside_another_class_count_most() -> None:
    weight = beside_borders(*_strokes())
    assert weight[0, 0, 9] == pytest.approx(math.exp(-2 / 4))
    assert weight[0, 0, 3] == pytest.approx(math.exp(-8 / 4))
    assert weight[0, :, [0, 5, 15]].sum() == 0


def test_a_border_that_is_off_costs_more_than_a_middle_that_is_missed() -> None:
    targets, known = _strokes()
    right = torch.zeros_like(targets)
    right[:, :, 2:11] = 1
    swollen, hollow = right.clone(), right.clone()
    swollen[:, :, 11:13] = 1
    hollow[:, :, 3] = 0
    assert dice_beside_borders(right, targets, known, 1) == pytest.approx(1)
    assert dice_beside_borders(swollen, targets, known, 1) < dice_beside_borders(hollow, targets, known, 1) < 1
    assert math.isnan(dice_beside_borders(right, targets, known & False, 1))


def test_volumes_agree_or_not() -> None:
    one = torch.zeros(2, 8, 8, dtype=torch.long)
    one[:, :4] = 1
    half = one.clone()
    half[1] = 0
    assert volume_agreement([one, one.flip(1)], 2) == 1
    assert volume_agreement([one, half], 2) == pytest.approx(1 - (16 / 48))
    assert volume_agreement([one * 0], 1) == 1
