from __future__ import annotations

import math

import pytest
import torch

from wsseg.losses.size import MOST, size_loss


def _answer(area: int) -> torch.Tensor:
    """Log-probabilities (1, 2, 64, 64) of a class that is certain on the first so many pixels, and of nothing else."""
    certain = (torch.arange(64 * 64) < area).view(1, 64, 64)
    return torch.stack([~certain, certain], dim=1).float().clamp(1e-9, 1).log()


def _stroke() -> torch.Tensor:
    """Pixel labels with a stroke of a class, 12 pixels down and 16 along, so that its box has a diagonal of 20."""
    pixels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    pixels[0, 4, 10:26], pixels[0, 4:16, 10], pixels[0, :, 63] = 1, 1, 255
    return pixels


@pytest.mark.parametrize(
    ("area", "loss"),
    [(27, 0), (400, 0), (int(MOST * 400), 0), (int(6 * MOST * 400) // 2, math.log(3)), (9, math.log(3)), (0, None)],
)
def test_a_class_is_no_less_than_is_drawn_and_no_more_than_strokes_reach(area: int, loss: float | None) -> None:
    found = float(size_loss(_answer(area), _stroke(), torch.tensor([[True]])))
    assert found > 10 if loss is None else found == pytest.approx(loss, abs=1e-3)


def test_only_strokes_tell_sizes() -> None:
    """A point or a correction is small whatever it lies in."""
    assert float(size_loss(_answer(0), _stroke(), torch.tensor([[False]]))) == 0


def test_slices_are_taken_together() -> None:
    """A short stroke on one slice, in something that is as large as others."""
    short = torch.zeros(1, 64, 64, dtype=torch.uint8)
    short[0, 4, 10] = 1
    answers, pixels = torch.cat([_answer(900), _answer(100)]), torch.cat([_stroke(), short])
    assert float(size_loss(answers, pixels, torch.tensor([[True], [True]]))) == 0
    assert float(size_loss(answers[1:], pixels[1:], torch.tensor([[True]]))) > 2


def test_only_classes_that_strokes_drew_are_bounded() -> None:
    """On the same slice another may be marked by a point."""
    answer = torch.cat([_answer(9), _answer(9)[:, 1:]], dim=1)
    pixels = _stroke()
    pixels[0, 50, 50] = 2
    both, first = (float(size_loss(answer, pixels, torch.tensor([[True, second]]))) for second in (True, False))
    assert first == pytest.approx(math.log(3), abs=1e-3)
    assert both == pytest.approx(first + math.log(9 / (2 * MOST)), abs=1e-3), "a dot has a diagonal of the root of two"


def test_a_class_that_has_vanished_comes_back() -> None:
    """With a gradient that is finite."""
    logits = torch.zeros(1, 2, 64, 64)
    logits[:, 1] = -200.0
    logits.requires_grad_()
    size_loss(logits.log_softmax(dim=1), _stroke(), torch.tensor([[True]])).backward()
    assert logits.grad is not None
    assert float(logits.grad[:, 1].sum()) == pytest.approx(-1, abs=1e-3)
