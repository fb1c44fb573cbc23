"""What strokes say of how large a class is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MOST = 3.0
"""Area of a class, in squares of how far its strokes reach.

Of two scans each of abdomens, necks and hippocampi it is 0.8 to 4.0, of hearts whose strokes people drew 0.3 to 1.1.
"""


def size_loss(log_probability: Tensor, pixels: Tensor, stroked: Tensor) -> Tensor:
    """A barrier on the area of classes where strokes were drawn (Kervadec et al. 2019), summed over classes.

    A class is at least what is drawn of it, and at most :data:`MOST` times the square of the diagonal of the box
    around its strokes on a slice, which people draw through the middle of things. Outside of these bounds the loss is
    the logarithm of how many times too small or large it is, on all such slices of the batch together: strokes
    of one slice may be short. Where a class is drawn as a whole neither bound is ever reached.

    Args:
        log_probability: (batch, 1 + classes, rows, columns).
        pixels: (batch, rows, columns) uint8 labels of pixels, 1..N the classes.
        stroked: (batch,) bool, where they are strokes.
    """
    areas = log_probability[:, 1:].exp().flatten(2).sum(dim=2)
    classes = torch.arange(1, log_probability.shape[1], device=pixels.device)[:, None, None]
    drawn = pixels[:, None] == classes
    counts = drawn.flatten(2).sum(dim=2)
    shown = (counts > 0) & stroked[:, None]
    reach = _length(drawn.any(dim=3)) ** 2 + _length(drawn.any(dim=2)) ** 2
    least, found, most = ((each * shown).sum(dim=0) for each in (counts, areas, MOST * reach))
    there = shown.any(dim=0)
    found, least, most = found[there], least[there], most[there]
    return (functional.relu((found / most).log()) + functional.relu((least / found).log())).sum()


def _length(marked: Tensor) -> Tensor:
    """From the first to the last of the places (..., places) that are marked."""
    marked = marked.to(torch.uint8)
    first, last = marked.argmax(dim=-1), marked.shape[-1] - 1 - marked.flip(-1).argmax(dim=-1)
    return (last - first + 1).float()
