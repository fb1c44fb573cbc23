"""What strokes say of how large a class is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MOST = 3.0
"""Area of a class, in squares of how far its strokes reach (`benchmarks/completion/score.py`).

Of classes of two abdomens, necks and hippocampi each it is 0.8 to 4.0, of hearts whose strokes people drew 0.3 to 1.1;
where it is more the image has to say so.
"""


def size_loss(log_probability: Tensor, pixels: Tensor, stroked: Tensor) -> Tensor:
    """A barrier on the area of classes where strokes were drawn (Kervadec et al. 2019), summed over classes.

    A class is at least what is drawn of it, and at most :data:`MOST` times the square of the diagonal of the box
    around its strokes on a slice, which people draw through the middle of things. Outside of these bounds the loss is
    the logarithm of how many times too small or large it is, on all such slices of the batch together: strokes
    of one slice may be short. Strokes that were completed to masks no longer bound them from above.

    Args:
        log_probability: (batch, 1 + classes, rows, columns).
        pixels: (batch, rows, columns) uint8 labels of pixels, 1..N the classes.
        stroked: (batch, classes) bool, where they are strokes.
    """
    classes = torch.arange(1, log_probability.shape[1], device=pixels.device)[:, None, None]
    drawn = pixels[:, None] == classes
    counts = drawn.flatten(2).sum(dim=2)
    shown = (counts > 0) & stroked
    there = shown.any(dim=0)
    if not there.any():
        return log_probability.sum() * 0
    areas = log_probability[:, 1:].flatten(2).logsumexp(dim=2).masked_fill(~shown, -torch.inf)
    found = areas[:, there].logsumexp(dim=0)
    least, most = ((each * shown).sum(dim=0)[there].log() for each in (counts, MOST * squared_reach(drawn)))
    return (functional.relu(found - most) + functional.relu(least - found)).sum()


def squared_reach(drawn: Tensor) -> Tensor:
    """Square of the diagonal of the box around what is drawn on planes (..., rows, columns), in pixels."""
    return _length(drawn.any(dim=-1)) ** 2 + _length(drawn.any(dim=-2)) ** 2


def _length(marked: Tensor) -> Tensor:
    """From the first to the last of the places (..., places) that are marked."""
    marked = marked.to(torch.uint8)
    first, last = marked.argmax(dim=-1), marked.shape[-1] - 1 - marked.flip(-1).argmax(dim=-1)
    return (last - first + 1).float()
