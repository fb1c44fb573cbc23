from __future__ import annotations

import torch

from wsseg.losses.gated_crf import gated_crf


def _mask(columns: int) -> torch.Tensor:
    found = torch.zeros(1, 2, 16, 16)
    found[:, 1, :, :columns], found[:, 0, :, columns:] = 1, 1
    return found


def test_a_border_where_the_image_has_one_costs_least() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., :8] = 1
    costs = {columns: float(gated_crf(_mask(columns), image)) for columns in (6, 8, 10)}
    assert costs[8] < 0.01
    assert min(costs[6], costs[10]) > 0.02


def test_the_gradient_pulls_the_border_to_that_of_the_image() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., :8] = 1
    logits = torch.where(_mask(7) > 0, 1.0, -1.0).requires_grad_()
    gated_crf(logits.softmax(dim=1), image).backward()
    assert logits.grad is not None
    assert (logits.grad[0, 1, 4:12, 7] < 0).all(), "more of the class where the image is still bright"


def test_a_faint_border_counts_as_a_strong_one() -> None:
    """What a border is depends on the contrast around it: soft tissue in CT differs by hundredths of the range."""
    noise = 0.1 * torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    edge = torch.zeros(1, 1, 32, 32)
    edge[..., :16] = 1
    mask = torch.zeros(1, 2, 32, 32)
    mask[:, 1, :, :16], mask[:, 0, :, 16:] = 1, 1
    strong, faint = (float(gated_crf(mask, (edge + noise) * scale)) for scale in (1.0, 0.05))
    assert abs(strong - faint) < 0.1 * strong
