"""TextDiff's trained part: image features that have read the sentence, and the picture's own pixels, to classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 8
"""Groups of channels that are normalised together."""

STEM = 16
"""Channels of what is seen in the picture's own pixels."""


class TextHead(nn.Module):
    """Tokens of every scale attend to the sentence's words; all scales together say what a pixel is.

    As in the paper's figure each scale has three convolutions of its own before
    it is brought to full size, which see as far around a pixel as the scale is
    coarse; the published code has none there. Groups are normalised, not the
    batch: how strongly a slide is stained then matters less, and what one
    process learns does not depend on how many there are.

    Args:
        channels: of the features, coarsest first.
        width: channels of the tokens.
        text_width: of the words' vectors.
        classes: of the result, background counted.
        hidden: channels of the two convolutions before the last.
        sharp: whether logits are corrected by the picture's own pixels; the paper's are not.
    """

    def __init__(
        self, channels: Sequence[int], width: int, text_width: int, classes: int, hidden: tuple[int, int], sharp: bool
    ) -> None:
        super().__init__()
        self.width = width
        self.project = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.guide = TextGuide(width, text_width)
        self.refine = nn.ModuleList(nn.Sequential(*(_block(width, width) for _ in range(3))) for _ in channels)
        self.first = nn.Conv2d(width * len(channels), hidden[0], 3, padding=1)
        self.rest = nn.Sequential(
            *(nn.GroupNorm(GROUPS, hidden[0]), nn.ReLU()),
            *(_block(hidden[0], hidden[1]), nn.Conv2d(hidden[1], classes, 3, padding=1)),
        )
        self.sharpen = Sharpening(hidden[1], classes) if sharp else None

    def forward(
        self, features: Sequence[Tensor], words: Tensor, known: Tensor, size: Sequence[int], pictures: Tensor
    ) -> Tensor:
        """Logits (batch, classes, k rows, k columns).

        The first convolution sees all scales side by side at full size. As it
        is linear it is taken scale by scale and summed, so that only one of
        them is held at that size at a time; the same within rounding.

        Args:
            features: per scale (batch, channels, rows, columns), coarsest first.
            words: (batch, length, text_width).
            known: (batch, length) bool, where there is a word.
            size: rows and columns that all scales are brought to.
            pictures: (batch, 3, k rows, k columns) in [-1, 1], whose pixels features have a k-th of along a side.
        """
        total: Tensor | None = None
        scales = zip(self.project, self.refine, features, strict=True)
        for index, (project, refine, level) in enumerate(scales):
            guided = refine(self.guide(project(level), words, known))
            wide = functional.interpolate(guided, tuple(size), mode="bilinear", align_corners=False)
            own = self.first.weight[:, index * self.width : (index + 1) * self.width]
            part = functional.conv2d(wide, own, self.first.bias if index == 0 else None, padding=1)
            total = part if total is None else total + part
        hidden = self.rest[:-1](total)
        logits: Tensor = self.rest[-1](hidden)
        return _widened(logits, pictures) if self.sharpen is None else self.sharpen(logits, hidden, pictures)


class Sharpening(nn.Module):
    """Corrects logits by the picture's own pixels, which know borders that features of fewer pixels do not.

    Nothing is corrected before it has learned: a head of before there was this
    part is read as it is, and can go on learning from there.

    Args:
        width: channels of what the logits were made from.
        classes: of the logits.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_block(3, STEM), _block(STEM, STEM))
        self.refine = _block(width + STEM, width)
        self.correct = nn.Conv2d(width, classes, 1)
        nn.init.zeros_(self.correct.weight)
        nn.init.zeros_(cast(Tensor, self.correct.bias))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Leave all as it is where stored weights know nothing of this part."""
        if not any(name.startswith(prefix) for name in state_dict):
            state_dict |= {prefix + name: weight for name, weight in self.state_dict().items()}
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, logits: Tensor, hidden: Tensor, pictures: Tensor) -> Tensor:
        """Logits (batch, classes, k rows, k columns).

        Args:
            logits: (batch, classes, rows, columns).
            hidden: (batch, width, rows, columns).
            pictures: (batch, 3, k rows, k columns) in [-1, 1].
        """
        wide = torch.cat([_widened(hidden, pictures), self.stem(pictures)], dim=1)
        return _widened(logits, pictures) + cast(Tensor, self.correct(self.refine(wide)))


def _widened(maps: Tensor, pictures: Tensor) -> Tensor:
    """Maps at the pixels of pictures."""
    return functional.interpolate(maps, pictures.shape[2:], mode="bilinear", align_corners=False)


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(GROUPS, after), nn.ReLU())


class TextGuide(nn.Module):
    """Cross-attention twice, then a linear map; each added to what came in. The same for all scales.

    A word that is always there stands for "nothing was said", so that an empty
    sentence can be attended to as well.

    Args:
        width: channels of the image's tokens.
        text_width: of the words' vectors.
    """

    def __init__(self, width: int, text_width: int) -> None:
        super().__init__()
        heads = max(1, width // 32)
        self.nothing = nn.Parameter(torch.zeros(1, 1, text_width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(width, heads, kdim=text_width, vdim=text_width, batch_first=True) for _ in range(2)
        )
        self.last = nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width))

    def forward(self, level: Tensor, words: Tensor, known: Tensor) -> Tensor:
        """Image tokens (batch, width, rows, columns) that have read the words."""
        words = torch.cat([self.nothing.expand(len(words), -1, -1), words], dim=1)
        unknown = functional.pad(~known, (1, 0))  # "nothing" is never unknown
        tokens = level.flatten(2).mT
        for norm, attention in zip(self.norms, self.attention, strict=True):
            read, _ = attention(norm(tokens), words, words, key_padding_mask=unknown, need_weights=False)
            tokens = tokens + read
        tokens = tokens + self.last(tokens)
        return tokens.mT.unflatten(2, level.shape[2:])
