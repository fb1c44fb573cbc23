"""What a scan looks like to a model, in numbers: by them it is told from scans of another kind.

Taken of the scan as the network sees it, in seven aspects. What cancels on the
way there, such as the unit of intensities, tells nothing here either.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsseg.data.preprocess import Stack
from wsseg.images.volume import Volume
from wsseg.inference.device import mixed_precision
from wsseg.methods.base import Method

Numbers = NDArray[np.float64]

LOOKED_AT = 3
"""Slices, evenly over the scan, that the encoder is shown: each costs a part of a prediction."""

THIRDS = 3
"""Parts of the stack, from its first slice to its last, of which there is a layout each."""

TILES = 12
"""Tiles along a side of a layout: too few to be a picture of anybody."""

PROBE = 64
"""Pixels along a side of the slices that intensities, detail and layout are taken of."""

_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)


class Aspect(StrEnum):
    """What a scan may be unlike the training scans in, in words that complete a sentence."""

    FINE = "what the network sees of detail"
    DEEP = "what the network makes of it"
    GREY = "grey values"
    DETAIL = "sharpness and noise"
    SYMMETRY = "symmetry and continuity from slice to slice"
    LAYOUT = "layout"
    TURN = "the way it lies"
    SIZE = "size"


TURNS = 4
"""Ways to turn a layout: the stack end to end, each slice along its rows and its columns, rows for columns."""

Look = Mapping[Aspect, Numbers]
"""Of each aspect some numbers, (n,), as many for every scan of a model."""


def look_at(scan: Volume, stack: Stack, method: Method) -> Look:
    """What a scan looks like.

    Args:
        scan: as read.
        stack: as the method's network sees it.
        method: on the device that it computes on.
    """
    small = _probe(stack.images)
    fine, deep = _encoded(stack.images, method)
    return {
        Aspect.FINE: fine,
        Aspect.DEEP: deep,
        Aspect.GREY: _grey(small),
        Aspect.DETAIL: _detail(stack.images),
        Aspect.SYMMETRY: _symmetry(small),
        Aspect.LAYOUT: (layout := _layout(small)).ravel(),
        Aspect.TURN: lopsided(layout),
        Aspect.SIZE: _size(scan, stack),
    }


def _probe(images: Tensor) -> Tensor:
    """Slices (slices, channels, rows, columns) at :data:`PROBE` pixels a side."""
    return functional.adaptive_avg_pool2d(images, PROBE)


def _encoded(images: Tensor, method: Method) -> list[Numbers]:
    """Means and deviations of the encoder's channels at two depths, of the deeper one by quarters of the slice."""
    slices = torch.unique(((torch.arange(LOOKED_AT) + 0.5) * len(images) / LOOKED_AT).long())
    device = next(method.parameters()).device
    with torch.no_grad(), mixed_precision(device):
        fine, deep = (level.float().cpu() for level in method.encode(images.to(device), slices.to(device)))
    quarters = functional.adaptive_avg_pool2d(deep, 2).flatten(1)
    parts = ([fine.mean(dim=(2, 3)), _deviations(fine)], [quarters, _deviations(deep)])
    return [torch.cat(part, dim=1).mean(dim=0).double().numpy() for part in parts]


def _deviations(maps: Tensor) -> Tensor:
    """Of each channel over a slice; 0 where it is a single number."""
    return maps.std(dim=(2, 3)).nan_to_num()


def _grey(small: Tensor) -> Numbers:
    """Quantiles of each channel, the parts of it at either end of the range, and its mean at the border."""
    found: list[Numbers] = []
    for channel in small.double().unbind(1):
        border = torch.cat([channel[:, 0], channel[:, -1], channel[:, :, 0], channel[:, :, -1]], dim=1)
        ends = [(channel <= -0.98).double().mean(), (channel >= 0.98).double().mean(), border.mean()]
        found += [np.quantile(channel.numpy(), _QUANTILES), np.array([float(end) for end in ends])]
    return np.concatenate(found)


def _detail(images: Tensor) -> Numbers:
    """Root mean squares of differences between pixels 1, 2 and 4 apart along both axes, against the deviation."""
    steps = [(axis, min(apart, images.shape[axis + 1] - 1)) for apart in (1, 2, 4) for axis in (1, 2)]
    squares, mean, spread = np.zeros(len(steps)), images.mean(), 0.0
    for plane in images:  # one at a time stays in the processor's cache
        spread += float((plane - mean).square_().sum())
        for index, (axis, step) in enumerate(steps):
            left = plane.shape[axis] - step
            squares[index] += float((plane.narrow(axis, 0, left) - plane.narrow(axis, step, left)).square_().sum())
    pairs = [images.numel() // images.shape[axis + 1] * (images.shape[axis + 1] - step) for axis, step in steps]
    deviation = np.sqrt(spread / images.numel()) + 1e-3
    return np.log(np.sqrt(squares / pairs) / deviation + 1e-3)


def _symmetry(small: Tensor) -> Numbers:
    """Correlation of slices with their mirror images along both axes, and with the next slice."""
    turned = [_correlation(small, small.flip(2)), _correlation(small, small.flip(3))]
    return np.array([*turned, _correlation(small[1:], small[:-1]) if len(small) > 1 else 1.0])


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, over all pixels of all slices."""
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).mean() / (one.square().mean() * other.square().mean()).sqrt().clamp(min=1e-6))


def _layout(small: Tensor) -> Numbers:
    """Mean of each third of the stack in :data:`TILES` x :data:`TILES` tiles, channels averaged."""
    tiles = functional.adaptive_avg_pool2d(small.mean(dim=1, keepdim=True), TILES)[:, 0]
    thirds = functional.adaptive_avg_pool1d(tiles.flatten(1).T[None], THIRDS)[0]
    return thirds.T.reshape(THIRDS, TILES, TILES).double().numpy()


def lopsided(layout: Numbers) -> Numbers:
    """What changes its sign when a layout (thirds, tiles, tiles) is turned, for each of :data:`TURNS`, side by side."""
    turned = (layout[::-1], layout[:, ::-1], layout[:, :, ::-1], layout.swapaxes(1, 2))
    return np.concatenate([(layout - other).ravel() for other in turned])


def _size(scan: Volume, stack: Stack) -> Numbers:
    """Logarithms: of slices, of the step from one to the next, of pixels and field of view and tissue, in mm."""
    across = scan.spacing[stack.grid.stored_axis]
    rows, columns = stack.tissue.shape[1:]
    down, right = stack.spacing
    tissue = stack.tissue.mean(axis=0) >= 0.25
    box = [
        max(1, int(np.ptp(np.flatnonzero(side)) + 1) if side.any() else 1) for side in (tissue.any(1), tissue.any(0))
    ]
    slices = len(stack.tissue)
    sizes = [slices, slices * across, across, down, right, rows * down, columns * right, box[0] * down, box[1] * right]
    return np.log(np.array(sizes, np.float64))
