"""Random flips, rotation, scaling, shift, contrast; sampled apart from where they are applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wsseg.data.sides import turned
from wsseg.data.targets import Targets


@dataclass(frozen=True, kw_only=True)
class Variety:
    """How much training slices are varied: what differs between patients and scanners.

    Attributes:
        turned: any quarter turn and both mirror images; else only left and right.
        angle: greatest rotation in radians.
        scale: natural logarithm of the greatest magnification.
        shift: greatest shift in parts of half the slice, or of the room around the
            square if it stays within.
        gamma: natural logarithm of the greatest exponent of the intensity in [0, 1].
        gain: greatest relative change of the intensity.
        lift: greatest change of the level of all tissue, in its medians, the median kept: how far the darkest of
            it lies above air differs between scanners.
        stain: natural logarithm of the greatest factor on one dye's optical density, on top of
            gamma: how much of a dye there is differs between laboratories.
        crop: pixels of the square that is seen; None for the whole slice.
        within: the square's middle stays so far in that it shows at most a
            quarter of its width of what is outside, which is the slice mirrored,
            without labels; else there is black.
        neighbours: slices on either side that are seen with each, as further channels.
        mirrored: left and right may change places; not where classes are told apart by side.
        upright: slices are pictures as people see them: the sides that a sentence
            names change with the way a picture is laid down.
        aimed: four of five samples bear a label, one of five of them that there is no class, the fifth is any slice;
            the square's middle lies near a labelled pixel, of each class and of background alike.
        placed: three further channels say where each pixel lies, see :func:`places`; slices keep their order.
        recoloured: part of the samples whose contrast is another sequence's, see :func:`recoloured`.
    """

    turned: bool = False
    angle: float = 0.2
    scale: float = 0.11
    shift: float = 0.06
    gamma: float = 0.25
    gain: float = 0.12
    lift: float = 0.0
    stain: float = 0.0
    crop: int | None = None
    within: bool = False
    neighbours: int = 0
    mirrored: bool = True
    upright: bool = False
    aimed: bool = False
    placed: bool = False
    recoloured: float = 0.0


PLACES = 3
"""Channels that say where a pixel lies."""

ASTRAY = (0.15, 0.05, 0.05)
"""Standard deviations of :func:`places`: what a scan covers and a body's outline differ from patient to patient."""

DYES = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density that haematoxylin, eosin and DAB have for red, green and blue (Ruifrok and Johnston 2001).

There is no DAB in H&E: it takes what is brown, and what the other two leave over.
"""

DARKEST = 1 / 255
"""Least light that passes: one grey value of a picture of eight bits."""

FLATTEST, STEEPEST = 0.3, 1.8
"""Least and greatest exponent of another sequence's contrast, see :class:`Recolouring`."""

DIMMEST = 0.6
"""Most that a place may be dimmed by."""

DARK = 0.08
"""Intensity in [0, 1] that tissue exceeds."""

AIR, TISSUE = 0.15, 0.35
"""In medians of the tissue: below the one nothing changes its colour, above the other everything does."""


USUAL = Variety()
"""What differs between heads of one orientation."""


def stained_tissue(crop: int) -> Variety:
    """What differs between stained slides: they have no upright, and every laboratory stains its own way."""
    return Variety(
        turned=True,
        angle=0.3,
        scale=0.25,
        shift=1.0,
        gamma=0.3,
        gain=0.15,
        stain=0.3,
        crop=crop,
        within=True,
        upright=True,
    )


@dataclass(frozen=True)
class Recolouring:
    """How another sequence would show the same slice.

    Attributes:
        power: exponent of intensities in medians of the tissue: below 0, bright is dark.
        dimmed: a place becomes darker by this part.
        row, column, width: of that place, in parts of half the slice from its middle.
    """

    power: float
    dimmed: float
    row: float
    column: float
    width: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Recolouring:
        """Falling or rising with equal chance."""
        power = float(rng.uniform(FLATTEST, STEEPEST)) * (1 if rng.random() < 0.5 else -1)
        row, column = rng.uniform(-0.6, 0.6, 2)
        return cls(power, float(rng.uniform(0, DIMMEST)), float(row), float(column), float(rng.uniform(0.2, 0.5)))


@dataclass(frozen=True)
class Augmentation:
    """What is done to one slice.

    Attributes:
        flip: mirror the first in-plane axis (left and right of an axial slice).
        angle: rotation in radians.
        scale: magnification.
        shift: rows, columns, as the variety counts it.
        gamma: exponent of the intensity in [0, 1].
        gain: factor on the intensity in [0, 1].
        lift: added to all tissue, in its medians.
        overturned: neighbours in the other order; scanners do not agree on which end comes first.
        stain: factor on the optical density of each of :data:`DYES`, on top of gamma.
        astray: slices, rows, columns in parts of half the scan by which :func:`places` are wrong.
        recolouring: None where the contrast stays.
    """

    flip: bool
    angle: float
    scale: float
    shift: tuple[float, float]
    gamma: float
    gain: float
    lift: float = 0.0
    overturned: bool = False
    stain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    astray: tuple[float, ...] = (0.0, 0.0, 0.0)
    recolouring: Recolouring | None = None

    @classmethod
    def draw(cls, rng: np.random.Generator, variety: Variety) -> Augmentation:
        """Within the given ranges."""
        down, right = rng.uniform(-variety.shift, variety.shift, 2)
        return cls(
            flip=bool(rng.random() < 0.5) and variety.mirrored,
            angle=float(rng.uniform(-variety.angle, variety.angle) + variety.turned * rng.integers(4) * np.pi / 2),
            scale=float(np.exp(rng.uniform(-variety.scale, variety.scale))),
            shift=(float(down), float(right)),
            gamma=float(np.exp(rng.uniform(-variety.gamma, variety.gamma))),
            gain=float(rng.uniform(1 - variety.gain, 1 + variety.gain)),
            overturned=variety.neighbours > 0 and bool(rng.random() < 0.5) and not variety.placed,
            stain=_factors(rng, variety.stain) if variety.stain else (1.0, 1.0, 1.0),
            astray=tuple(rng.normal(0, ASTRAY).tolist()) if variety.placed else (0.0, 0.0, 0.0),
            recolouring=Recolouring.draw(rng) if variety.recoloured and rng.random() < variety.recoloured else None,
            lift=float(rng.uniform(-variety.lift, variety.lift)) if variety.lift else 0.0,
        )

    def aimed_at(self, row: float, column: float, variety: Variety, seen: float) -> Augmentation:
        """The same with the square's middle near a place, in parts of half the slice from its middle.

        The square stays over the slice but for the variety's shift; ``seen`` is its part of the slice's side.
        """
        most = 1 - seen + variety.shift
        down, right = (
            float(np.clip(place + part * seen, -most, most))
            for place, part in zip((row, column), self.shift, strict=True)
        )
        return replace(self, shift=(down, right))

    def sentence(self, text: str) -> str:
        """A sentence on an upright picture, as it is true after flip and the nearest quarter turn."""
        return turned(text, self.flip, round(self.angle / (np.pi / 2)))

    def matrix(self, seen: float, within: bool) -> list[list[float]]:
        """The 2 x 3 sampling transform for ``affine_grid`` (columns, rows); ``seen`` is the part of the side."""
        room = 1 - seen / 2 if within else 1.0
        cos, sin = (f(self.angle) * seen / self.scale for f in (np.cos, np.sin))
        mirror = -1.0 if self.flip else 1.0
        return [[cos, -sin, room * self.shift[1]], [mirror * sin, mirror * cos, room * self.shift[0]]]


def _factors(rng: np.random.Generator, most: float) -> tuple[float, float, float]:
    """One for each dye, of which the greatest has this logarithm."""
    first, second, third = np.exp(rng.uniform(-most, most, 3)).tolist()
    return first, second, third


def augment(
    images: Tensor,
    targets: Targets,
    draws: Sequence[Augmentation],
    variety: Variety = USUAL,
    heights: Tensor | None = None,
) -> tuple[Tensor, Targets]:
    """Apply one augmentation to each slice (batch, channels, size, size) in [-1, 1] and what is known of it.

    Args:
        targets: whose maps are moved without interpolation; 0 moves in.
        variety: what is seen of a slice, and what lies around it.
        heights: (batch,) of the slices in their scans from -1 to 1, where pixels are placed.
    """
    side = variety.crop or images.shape[-1]
    seen = side / images.shape[-1]
    matrices = torch.tensor([draw.matrix(seen, variety.within) for draw in draws], dtype=images.dtype)
    grid = functional.affine_grid(matrices, [len(images), 1, side, side], align_corners=False)
    over = torch.tensor([draw.overturned for draw in draws]).view(-1, 1, 1, 1)
    slices = images.unflatten(1, (1 + 2 * variety.neighbours, -1))
    ordered = torch.where(over, slices.flip(1).flatten(1, 2), images)
    around = "reflection" if variety.within else "zeros"
    moved = functional.grid_sample(ordered + 1, grid, padding_mode=around, align_corners=False) / 2
    gamma = torch.tensor([draw.gamma for draw in draws], dtype=images.dtype).view(-1, 1, 1, 1)
    gain = torch.tensor([draw.gain for draw in draws], dtype=images.dtype).view(-1, 1, 1, 1)

    def move(planes: Tensor) -> Tensor:
        moved = functional.grid_sample(planes.to(grid.dtype), grid, mode="nearest", align_corners=False)
        return moved.round().to(planes.dtype)

    if variety.lift:
        moved = torch.stack([lifted(plane, draw.lift) for plane, draw in zip(moved, draws, strict=True)])
    if variety.stain:
        moved = torch.stack([stained(plane, draw.stain) for plane, draw in zip(moved, draws, strict=True)])
    varied = moved.clamp(0, 1) ** gamma * gain
    for plane, draw in zip(varied, draws, strict=True):
        if draw.recolouring is not None:
            plane.copy_(recoloured(plane, draw.recolouring))
    varied = varied.clamp(0, 1) * 2 - 1
    if heights is not None:
        astray = torch.tensor([draw.astray for draw in draws], dtype=images.dtype)[:, :, None, None]
        varied = torch.cat([varied, _placed(heights, grid) + astray], dim=1)
    told = targets.moved(move, (side, side))
    if variety.upright:
        texts = (draw.sentence(text) for draw, text in zip(draws, targets.texts, strict=True))
        told = replace(told, texts=tuple(texts))
    return varied, told


def lifted(image: Tensor, lift: float) -> Tensor:
    """A slice (channels, rows, columns) of intensities from 0, air, whose tissue lies at another level above it.

    All that is not wholly air is tissue, so that the body's outline becomes sharper or fades.
    """
    tissue = image > 0
    if not tissue.any():
        return image
    return torch.where(tissue, (image + lift * image[tissue].median()) / (1 + lift), image).clamp(min=0)


def stained(image: Tensor, factors: Sequence[float]) -> Tensor:
    """A picture (3, rows, columns) in [0, 1] of stained tissue with more or less of each dye.

    Dyes take light away independently of each other, so that their optical
    densities add (colour deconvolution). Tellez et al. 2018 vary them so, and by an offset too.
    """
    dyes = torch.tensor(DYES, dtype=image.dtype, device=image.device)
    mixed = torch.linalg.inv(dyes) @ torch.diag(torch.tensor(factors, dtype=image.dtype, device=image.device)) @ dyes
    density = -image.clamp(DARKEST, 1).log()
    return torch.exp(-torch.einsum("crs,cd->drs", density, mixed)).clamp(max=1)


def recoloured(image: Tensor, how: Recolouring) -> Tensor:
    """A slice (channels, rows, columns) of intensities from 0, air, as another sequence would show it.

    Tissue of the median keeps its intensity, as it does when scans are prepared;
    what is brighter becomes darker, or more or less bright, and one place is dimmed.
    """
    tissue = image > DARK
    if not tissue.any():
        return image
    median = image[tissue].median()
    level = image / median
    rows, columns = (torch.linspace(-1, 1, side, device=image.device) for side in image.shape[1:])
    apart = (rows - how.row).square()[:, None] + (columns - how.column).square()
    dimming = 1 - how.dimmed * torch.exp(-apart / (2 * how.width**2))
    other = median * level.clamp(min=AIR) ** how.power * dimming
    return torch.lerp(image, other, ((level - AIR) / (TISSUE - AIR)).clamp(0, 1))


def negative(images: Tensor) -> Tensor:
    """Slices (slices, channels, size, size) in [-1, 1] as a sequence would show them in which bright is dark."""
    turned = [
        recoloured(image, Recolouring(power=-1, dimmed=0, row=0, column=0, width=1)) for image in (images + 1) / 2
    ]
    return torch.stack(turned).clamp(0, 1) * 2 - 1


def places(heights: Tensor, size: Sequence[int]) -> Tensor:
    """Where each pixel lies: slice in the scan, row and column in the window, each from -1 to 1.

    A convolution cannot tell left from right, nor a jaw from a skull (Liu et al. 2018, CoordConv).

    Args:
        heights: (slices,) from -1, the first of the scan, to 1.
        size: rows, columns.

    Returns:
        (slices, 3, rows, columns).
    """
    whole = torch.eye(2, 3, device=heights.device).expand(len(heights), 2, 3)
    return _placed(heights, functional.affine_grid(whole, [len(heights), 1, *size], align_corners=False))


def _placed(heights: Tensor, grid: Tensor) -> Tensor:
    """Sampling grids (slices, rows, columns, 2) of columns and rows, as channels behind the slice's own place."""
    return torch.cat([heights.view(-1, 1, 1, 1).expand(-1, 1, *grid.shape[1:3]), grid.flip(-1).movedim(-1, 1)], dim=1)
