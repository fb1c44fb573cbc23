from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from wsseg.losses.pixels import LEAST_SHARE, MOST_BACKGROUND, drawn_cross_entropy, overlap_loss, pixel_cross_entropy


def _case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[0, 0] = 1
    known = torch.ones(1, 4, 4, dtype=torch.bool)
    known[0, 3] = False
    return torch.stack([target == 0, target == 1], dim=1).float() * 20, target, known


def test_right_answers_cost_nothing_and_unlabelled_pixels_do_not_count() -> None:
    logits, target, known = _case()
    logits[0, :, 3] = torch.tensor([[-20.0], [20.0]])  # wrong, where nothing is labelled
    for balanced in (True, False):
        assert pixel_cross_entropy(logits, target, known, balanced) < 1e-6
    assert overlap_loss(logits, target, known) < 1e-6


def test_balance_weighs_a_rare_class_as_much() -> None:
    logits, target, known = _case()
    logits[0, :, 0] = 0.0  # undecided on the 4 pixels of the class, right on 8 others
    assert abs(float(pixel_cross_entropy(logits, target, known, True)) - 0.6931 / 2) < 1e-3
    assert abs(float(pixel_cross_entropy(logits, target, known, False)) - 0.6931 / 3) < 1e-3


def test_missing_the_class_costs_its_overlap() -> None:
    logits, target, known = _case()
    assert overlap_loss(logits.flip(1), target, known) > 0.8


def test_overlap_is_the_formula_by_hand() -> None:
    """1 - (2 sum p g + 1) / (sum p + sum g + 1) of each class over labelled pixels, background left out."""
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 3, 8, 8, generator=rng)
    target = torch.randint(0, 3, (2, 8, 8), generator=rng)
    known = torch.rand(2, 8, 8, generator=rng) < 0.6
    probability = torch.softmax(logits, dim=1)
    by_hand = []
    for label in (1, 2):
        p, g = probability[:, label][known], (target == label)[known].float()
        by_hand.append(1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1))
    torch.testing.assert_close(overlap_loss(logits, target, known), torch.stack(by_hand).mean())


def test_background_does_not_swamp_the_classes() -> None:
    logits, target = torch.zeros(1, 2, 40, 40), torch.zeros(1, 40, 40, dtype=torch.long)
    logits[:, 0] = 3.0
    target[0, 0, 0] = 1
    known = torch.ones(1, 40, 40, dtype=torch.bool)
    loss = drawn_cross_entropy(logits, target, known)
    lowered = 3.0 + math.log(LEAST_SHARE)
    wrong, right = functional.softplus(torch.tensor([lowered, -lowered]))
    assert float(loss) == pytest.approx(float((wrong + MOST_BACKGROUND * right) / (1 + MOST_BACKGROUND)), rel=1e-5)


def test_a_few_strokes_of_background_weigh_what_they_are() -> None:
    logits, target = torch.randn(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    target[0, :2] = 1
    known = torch.ones(1, 4, 4, dtype=torch.bool)
    plain = functional.cross_entropy(logits, target)
    assert float(drawn_cross_entropy(logits, target, known)) == pytest.approx(float(plain), rel=1e-5)


def test_a_class_weighs_as_the_root_of_what_is_drawn_of_it() -> None:
    target = torch.ones(1, 1, 20, dtype=torch.long)
    target[..., 16:] = 2
    costs = torch.stack(
        [drawn_cross_entropy(_undecided_about(k), target, torch.ones(1, 1, 20, dtype=torch.bool)) for k in (1, 2)]
    )
    assert costs.tolist() == pytest.approx([math.log(3) * 4 / 6, math.log(3) * 2 / 6], rel=1e-3)


def _undecided_about(k: int) -> torch.Tensor:
    """Logits that are right on 16 pixels of the first class and 4 of the second, but flat on those of one of them."""
    logits = torch.zeros(1, 3, 1, 20)
    logits[:, 1, :, :16] = logits[:, 2, :, 16:] = 30
    logits[:, :, :, slice(0, 16) if k == 1 else slice(16, 20)] = 0
    return logits


def _odds(classes: int, background: int) -> float:
    """Logit of a class against background at which so many drawn pixels of each cost least."""
    target = torch.cat([torch.ones(classes), torch.zeros(background)]).long().view(1, 1, -1)
    odds = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([odds], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.stack([torch.zeros(target.shape[1:]), odds.expand(target.shape[1:])])[None]
        found = drawn_cross_entropy(logits, target, target >= 0)
        found.backward()
        return found

    optimizer.step(loss)
    return odds.item()


def test_where_background_weighs_less_masks_do_not_swell() -> None:
    """The odds are those of all that is drawn, not of what is weighed, as far as the least share."""
    assert _odds(450, 2050) == pytest.approx(math.log(450 / 2050), abs=0.01)
    assert _odds(100, 2000) == pytest.approx(math.log(100 / 2000), abs=0.01)
    assert _odds(10, 5000) == pytest.approx(math.log(LEAST_SHARE / MOST_BACKGROUND), abs=0.01)
