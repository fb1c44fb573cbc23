from __future__ import annotations

import torch
from torch import Tensor

from wsseg.data.placed import band_of
from wsseg.losses.box import box_loss, seed_loss


def _boxes(top: int, bottom: int, left: int, right: int, size: int = 24) -> Tensor:
    """One slice with one box of one class."""
    boxes = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    down, along = (torch.from_numpy(band_of(length)).int() for length in (bottom - top, right - left))
    boxes[0, 0, top:bottom, left:right] = (16 * down[:, None] + along).to(torch.uint8)
    return boxes


def _loss(mask: Tensor, boxes: Tensor) -> float:
    probability = torch.stack([1 - mask, mask])[None].float() * 0.98 + 0.01
    return float(box_loss(probability.log(), boxes))


def test_a_mask_that_fills_its_box_is_better_than_a_smaller_a_shifted_and_none() -> None:
    boxes, (down, right) = _boxes(4, 20, 6, 18), torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    ellipse = (((down - 11.5) / 7) ** 2 + ((right - 11.5) / 5) ** 2 < 0.9).float()
    small = (((down - 11.5) / 3) ** 2 + ((right - 11.5) / 3) ** 2 < 1).float()
    best = _loss(ellipse, boxes)
    assert best < 0.2
    assert all(_loss(other, boxes) > best + 0.5 for other in (small, ellipse.roll(8, 0), torch.zeros(24, 24)))


def test_bands_turn_with_the_slice() -> None:
    boxes, mask = _boxes(4, 20, 6, 18), torch.zeros(24, 24)
    mask[4:20, 10:14] = 1
    assert abs(_loss(mask, boxes) - _loss(mask.rot90(), boxes.rot90(dims=(2, 3)))) < 1e-6


def test_slices_without_boxes_cost_nothing_and_have_a_gradient() -> None:
    logits = torch.zeros(2, 3, 8, 8, requires_grad=True)
    loss = box_loss(logits.log_softmax(dim=1), torch.zeros(2, 2, 8, 8, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


def test_seeds_ask_for_the_middle_of_the_box_alone() -> None:
    boxes, logits = _boxes(4, 20, 6, 18), torch.zeros(1, 2, 24, 24, requires_grad=True)
    seed_loss(logits.log_softmax(dim=1), boxes).backward()
    assert logits.grad is not None
    wanted = logits.grad[0, 1] < 0
    assert wanted[12, 12]
    assert not wanted[:6].any()
    assert not wanted[:, :7].any()
