from __future__ import annotations

import math

import torch

from wsseg.losses.absence import absence_loss, other_side_loss, pooled_presence_loss


def test_only_classes_known_to_be_absent_are_charged() -> None:
    log_probability = torch.full((2, 3, 4, 4), 1 / 3).log()
    nothing = absence_loss(log_probability, torch.tensor([[1, -1], [-1, 1]]), hardest=1.0)
    one = absence_loss(log_probability, torch.tensor([[0, 1], [-1, 1]]), hardest=0.0)
    assert float(nothing) == 0
    assert abs(float(one) + math.log(2 / 3)) < 1e-5


def test_few_pixels_of_an_absent_class_count_though_a_slice_is_large() -> None:
    logits = torch.zeros(1, 2, 128, 128)
    logits[0, 0] = 8
    logits[0, 1, 60:65, 60:65] = 12
    absent = torch.tensor([[0]])
    diluted, charged = (float(absence_loss(logits.log_softmax(dim=1), absent, weight)) for weight in (0.0, 0.1))
    assert diluted < 0.01
    assert charged > 0.3


def test_a_false_region_is_charged_however_sure_it_is() -> None:
    """A cap would leave what is surest without a gradient."""
    for surer in (5.0, 20.0, 60.0):
        logits = torch.tensor([0.0, surer, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4).clone().requires_grad_()
        absence_loss(logits.log_softmax(dim=1), torch.tensor([[0, -1]]), hardest=0.0).backward()
        assert logits.grad is not None
        assert float(logits.grad[:, 1].sum()) > 0.9


def test_presence_asks_for_the_pixels_most_like_the_class() -> None:
    logits = torch.zeros(1, 2, 8, 8)
    logits[0, 1, 2:4, 2:4] = 5
    shown = pooled_presence_loss(logits.log_softmax(dim=1), torch.tensor([[1]]))
    assert float(shown) < 0.01, "four pixels are enough"
    assert float(pooled_presence_loss(torch.zeros(1, 2, 8, 8).log_softmax(dim=1), torch.tensor([[1]]))) > 0.6
    assert float(pooled_presence_loss(logits.log_softmax(dim=1), torch.tensor([[0]]))) == 0


def test_only_the_other_side_of_one_sided_classes_is_charged() -> None:
    logits = torch.zeros(1, 3, 2, 6)
    half = torch.tensor([1, 1, 0, 0, 2, 2]).expand(1, 2, 6)
    logits[0, 1, :, 4:], logits[0, 2, :, :] = 4, 2
    left, right, unknown = (
        float(other_side_loss(logits.log_softmax(dim=1), torch.tensor([[side, 0]]), half)) for side in (1, 2, 0)
    )
    assert left > 1.9
    assert right < 0.2
    assert unknown == 0
