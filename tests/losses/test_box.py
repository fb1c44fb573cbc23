from __future__ import annotations

import torch
from torch import Tensor

from wsseg.data.kinds.placed import band_of
from wsseg.losses.box import box_loss


def _boxes(top: int, bottom: int, left: int, right: int, size: int = 24) -> Tensor:
    """One slice with one box of one class."""
    boxes = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    down, along = (torch.from_numpy(band_of(length)).int() for length in (bottom - top, right - left))
    boxes[0, 0, top:bottom, left:right] = (16 * down[:, None] + along).to(torch.uint8)
    return boxes


UNLABELLED = torch.zeros(1, 24, 24, dtype=torch.uint8)


def _loss(mask: Tensor, boxes: Tensor) -> float:
    probability = torch.stack([1 - mask, mask])[None].float() * 0.9 + 0.05
    return float(torch.stack(box_loss(probability.log(), boxes, UNLABELLED)).sum())


def test_a_body_in_its_box_is_better_than_a_full_a_smaller_a_shifted_and_none() -> None:
    boxes, (down, right) = _boxes(4, 20, 6, 18), torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    ellipse = (((down - 11.5) / 7) ** 2 + ((right - 11.5) / 5) ** 2 < 0.9).float()
    small = (((down - 11.5) / 3) ** 2 + ((right - 11.5) / 3) ** 2 < 1).float()
    full = (boxes[0, 0] > 0).float()
    best = _loss(ellipse, boxes)
    assert all(_loss(other, boxes) > best + 0.1 for other in (full, small, ellipse.roll(8, 0), torch.zeros(24, 24)))


def test_boxes_turn_with_the_slice() -> None:
    boxes, mask = _boxes(4, 20, 6, 18), torch.zeros(24, 24)
    mask[4:20, 10:14] = 1
    assert abs(_loss(mask, boxes) - _loss(mask.rot90(), boxes.rot90(dims=(2, 3)))) < 1e-6


def test_slices_without_boxes_cost_nothing_and_have_a_gradient() -> None:
    logits = torch.zeros(2, 3, 8, 8, requires_grad=True)
    boxes, pixels = torch.zeros(2, 2, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 8, dtype=torch.uint8)
    loss = torch.stack(box_loss(logits.log_softmax(dim=1), boxes, pixels)).sum()
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None


def test_each_side_of_the_loss_pulls_its_own_pixels() -> None:
    boxes, logits = _boxes(4, 20, 6, 18), torch.zeros(1, 2, 24, 24, requires_grad=True)
    outside, body = box_loss(logits.log_softmax(dim=1), boxes, UNLABELLED)
    (pushed,) = torch.autograd.grad(outside, logits, retain_graph=True)
    (pulled,) = torch.autograd.grad(body, logits)
    assert (pushed[0, 1][boxes[0, 0] == 0] > 0).all()
    assert pulled[0, 1, 12, 12] < 0, "more in the middle"
    assert pulled[0, 1, 4, 6] > 0, "less in the corners"
    assert not pulled[0, 1][boxes[0, 0] == 0].any()


def test_no_body_is_asked_of_a_class_whose_boxes_are_labelled() -> None:
    boxes, logits = torch.cat([_boxes(4, 20, 2, 10), _boxes(4, 20, 12, 22)], dim=1), torch.zeros(1, 3, 24, 24)
    logits.requires_grad_()
    pixels = UNLABELLED.clone()
    pixels[0, 6:18, 4:8] = 1
    pixels[0, 10:13, 16:19] = 2  # a point
    pixels[0, 14:20, 12:22] = 1  # a piece of the first class in the second's box
    outside, body = box_loss(logits.log_softmax(dim=1), boxes, pixels)
    (pushed,) = torch.autograd.grad(outside, logits, retain_graph=True)
    (pulled,) = torch.autograd.grad(body, logits)
    assert pushed[:, 1:].flatten(2).any(dim=2).all(), "outside of every box still holds nothing"
    assert not pulled[0, 1][boxes[0, 0] > 0].any()
    assert (pulled[0, 2][boxes[0, 1] > 0] != 0).any(), "one point says little of where a thing ends"
    assert box_loss(logits.log_softmax(dim=1), boxes, torch.full_like(pixels, 255))[1].item() == 0
