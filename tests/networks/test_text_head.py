from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from wsseg.networks.text_head import TextGuide, TextHead

CHANNELS = (12, 8, 6)


@pytest.fixture
def head() -> TextHead:
    torch.manual_seed(0)
    return TextHead(CHANNELS, 32, 16, 2, (8, 8)).eval().requires_grad_(False)


def _features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, count, 4 << i, 6 << i, generator=generator) for i, count in enumerate(CHANNELS)]


def _words(length: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, length, 16, generator=generator), torch.ones(2, length, dtype=torch.bool)


def test_the_split_convolution_is_the_plain_one(head: TextHead) -> None:
    size = (32, 48)
    scales = zip(head.project, head.refine, _features(), strict=True)
    levels = [refine(head.guide(project(level), *_words())) for project, refine, level in scales]
    wide = [functional.interpolate(level, size, mode="bilinear", align_corners=False) for level in levels]
    plain = head.rest(head.first(torch.cat(wide, dim=1)))
    torch.testing.assert_close(head(_features(), *_words(), size), plain, atol=1e-5, rtol=1e-4)


def test_padding_is_not_attended_to(head: TextHead) -> None:
    words, known = _words()
    longer = torch.cat([words, 100 * torch.ones(2, 3, 16)], dim=1)
    found = head(_features(), longer, functional.pad(known, (0, 3)), (8, 12))
    torch.testing.assert_close(found, head(_features(), words, known, (8, 12)), atol=1e-5, rtol=1e-4)


def test_nothing_said_is_no_error_and_differs_from_a_sentence(head: TextHead) -> None:
    words, known = _words()
    silent = head(_features(), words, torch.zeros_like(known), (8, 12))
    assert silent.isfinite().all()
    assert not torch.allclose(silent, head(_features(), words, known, (8, 12)), atol=1e-4)


def test_words_change_the_image_tokens_only_where_they_differ() -> None:
    torch.manual_seed(0)
    guide = TextGuide(32, 16).requires_grad_(False)
    level, (words, known) = torch.randn(2, 32, 4, 4), _words()
    other = words.clone()
    other[1] += 1
    change = (guide(level, other, known) - guide(level, words, known)).abs().amax(dim=(1, 2, 3))
    assert change[0] == 0
    assert change[1] > 1e-4
