from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from wsseg.networks.text_head import TextGuide, TextHead

CHANNELS = (12, 8, 6)


@pytest.fixture
def head() -> TextHead:
    torch.manual_seed(0)
    return _head(sharp=False)


def _head(sharp: bool) -> TextHead:
    return TextHead(CHANNELS, 32, 16, 2, (8, 8), sharp).eval().requires_grad_(False)


def _pictures(rows: int, columns: int) -> torch.Tensor:
    return torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(3)) * 2 - 1


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
    torch.testing.assert_close(head(_features(), *_words(), size, _pictures(*size)), plain, atol=1e-5, rtol=1e-4)


def test_padding_is_not_attended_to(head: TextHead) -> None:
    words, known = _words()
    longer = torch.cat([words, 100 * torch.ones(2, 3, 16)], dim=1)
    found = head(_features(), longer, functional.pad(known, (0, 3)), (8, 12), _pictures(8, 12))
    torch.testing.assert_close(found, head(_features(), words, known, (8, 12), _pictures(8, 12)), atol=1e-5, rtol=1e-4)


def test_nothing_said_is_no_error_and_differs_from_a_sentence(head: TextHead) -> None:
    words, known = _words()
    silent = head(_features(), words, torch.zeros_like(known), (8, 12), _pictures(8, 12))
    assert silent.isfinite().all()
    assert not torch.allclose(silent, head(_features(), words, known, (8, 12), _pictures(8, 12)), atol=1e-4)


def test_a_head_of_before_there_was_sharpening_is_read_and_says_the_same_at_the_pictures_pixels(head: TextHead) -> None:
    sharp = _head(sharp=True)
    sharp.load_state_dict(head.state_dict())
    pictures = _pictures(16, 24)
    found = sharp(_features(), *_words(), (8, 12), pictures)
    assert found.shape == (2, 2, 16, 24)
    torch.testing.assert_close(found, head(_features(), *_words(), (8, 12), pictures))


def test_a_head_that_lost_half_of_its_sharpening_is_not_read() -> None:
    half = _head(sharp=True).state_dict()
    del half["sharpen.correct.weight"]
    with pytest.raises(RuntimeError, match=r"sharpen\.correct\.weight"):
        _head(sharp=True).load_state_dict(half)


def test_what_sharpening_learns_is_of_the_pictures_pixels() -> None:
    torch.manual_seed(0)
    sharp = _head(sharp=True)
    assert sharp.sharpen is not None
    torch.nn.init.ones_(sharp.sharpen.correct.weight)
    pictures = _pictures(16, 24)
    other = pictures.clone()
    other[:, :, 5, 7] *= -1
    change = sharp(_features(), *_words(), (8, 12), other) - sharp(_features(), *_words(), (8, 12), pictures)
    most = change.abs().amax(dim=(0, 1))
    assert most[5, 7] > 1e-3
    around = torch.zeros_like(most, dtype=torch.bool)
    around[2:9, 4:11] = True
    assert most[around].max() > 10 * most[~around].max(), "normalisation alone reaches further than three convolutions"


def test_words_change_the_image_tokens_only_where_they_differ() -> None:
    torch.manual_seed(0)
    guide = TextGuide(32, 16).requires_grad_(False)
    level, (words, known) = torch.randn(2, 32, 4, 4), _words()
    other = words.clone()
    other[1] += 1
    change = (guide(level, other, known) - guide(level, words, known)).abs().amax(dim=(1, 2, 3))
    assert change[0] == 0
    assert change[1] > 1e-4
