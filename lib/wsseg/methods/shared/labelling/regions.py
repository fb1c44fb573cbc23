"""Regions of a scan that differ in brightness from what is around them, and which of them is the finding.

Whoever says on which slices a finding is has said much of where it is: of all regions that
are brighter, or darker, than their surroundings, few reach over those slices and no others.
The regions are those of a component tree (Salembier et al. 1998; Nistér and Stewénius 2008
look for the stable ones of it), of the scan and of its negative alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from wsseg.data.air import reaching_border
from wsseg.images.pieces import extent
from wsseg.labels.space import BACKGROUND, NO, YES

SMOOTHED = (0.5, 1.5, 1.5)
"""Sigmas in slices and pixels, so that noise does not tear regions apart."""

LEVELS = np.linspace(0.5, 0.998, 28)
"""Quantiles of the brightness of tissue at which regions are looked for."""

LARGEST = 6
"""Regions looked at of one level, of those that reach far enough."""

LEAST_VOXELS = 30
"""Of a region, at the size that is looked at."""

LEAST = 1e-3
"""Below it a difference is rounding."""

LEAST_COVER, MOST_LEAK = 0.5, 0.4
"""What a region has to share with the finding's slices; one that is further off is not looked at."""

LARGEST_SIDE, MOST_VOXELS = 192, 4_000_000
"""Pixels along a slice, and voxels of a scan, that are enough; of more, slices are made smaller: 11 million of
them took 13 seconds of a core."""

AIR = -0.95
"""Of an image's range, which begins at -1: no tissue is darker, but for holes in it."""

SOFT = (0.0, 1.0, 1.0)
"""Sigmas by which the border of a region is softened."""

BESIDE = 3
"""Slices beside a region that it may have faded on; what is further off is another finding."""

FADED = 0.1
"""Part of its largest slice that a region has where it is fading."""

AGREED = 0.5
"""Dice from which a region and a network's mask are of the same finding."""

AROUND = 2
"""Pixels in plane that are compared with a region, and of which nothing is said: borders may lie there."""

_TOUCHING = np.ones((3, 3, 3), np.bool_)


@dataclass(frozen=True)
class Region:
    """A connected region.

    Attributes:
        where: its bounding box in the scan, with a margin.
        mask: of that box.
        bright: the scan, or its negative, in which the region is brighter than what is around it.
        likeness: how well it fits what is known of the finding; above 0.
    """

    where: tuple[slice, ...]
    mask: NDArray[np.bool_]
    bright: NDArray[np.float32]
    likeness: float

    def in_scan(self) -> NDArray[np.bool_]:
        """The region as a mask of the whole scan."""
        mask = np.zeros(self.bright.shape, np.bool_)
        mask[self.where] = self.mask
        return mask

    def in_all(self, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The same without holes, and what is bright near it on slices beside it that show the finding too.

        A finding that is brighter at its rim than in its core, as where it is necrotic, is one; and on slices
        where a region has faded the finding may not have.
        """
        mask = self.in_scan()
        of_slice = mask.sum(axis=(1, 2))
        reached = np.flatnonzero(of_slice > FADED * of_slice.max())
        for index in np.setdiff1d(np.flatnonzero(shown), reached):
            nearest = reached[np.abs(reached - index).argmin()]
            if abs(nearest - index) > BESIDE:
                continue
            near = ndimage.binary_dilation(mask[nearest], iterations=AROUND)
            plane = ndimage.gaussian_filter(self.bright[index], SMOOTHED[1:])
            mask[index] |= near & (plane >= np.median(plane[near]))
        return np.stack([ndimage.binary_fill_holes(plane) for plane in mask])


def by_regions(images: Tensor, presence: Tensor, evidence: Tensor, otherwise: Tensor) -> Tensor:
    """Where the classes are on slices that show them: in the region that fits best.

    Args:
        images, presence, evidence: as for :func:`seeds_of_regions`.
        otherwise: probabilities of all other slices, and of classes without such a region,
            (slices, classes, size, size).

    Returns:
        Probabilities of the same shape, about 0.5 on the border of a region.
    """
    found = otherwise.clone()
    for k, region in enumerate(_best_regions(images, presence, evidence)):
        if region is not None:
            shown = (presence[:, k] == YES).cpu()
            mask = region.in_all(shown.numpy())
            soft = torch.from_numpy(ndimage.gaussian_filter(mask.astype(np.float32), SOFT))
            marked = shown & (soft.amax(dim=(1, 2)) > 0.5)
            found[marked, k] = _enlarged(soft, images)[marked]
    return found


def seeds_of_regions(images: Tensor, presence: Tensor, evidence: Tensor) -> Tensor:
    """Seeds of one scan: each class is the region that fits best where it is said to be, and what speaks for it.

    Args:
        images: (slices, channels, size, size) in [-1, 1].
        presence: (slices, classes) of 1, 0, -1.
        evidence: (slices, classes, size, size), what speaks for each class at each pixel, in any unit.

    Returns:
        (slices, classes, size, size) uint8 of 1 the region, 255 far from it, 0 near its border; 0 on
        slices that do not show the class, or that the region does not reach.
    """
    found = torch.zeros(evidence.shape, dtype=torch.uint8)
    for k, region in enumerate(_best_regions(images, presence, evidence)):
        if region is not None:
            mask = region.in_scan()
            near = _widened(mask)
            seeds = np.where(mask, 1, np.where(near, 0, BACKGROUND)).astype(np.float32)
            said = torch.from_numpy(mask.any(axis=(1, 2))) & (presence[:, k] == YES).cpu()
            found[said, k] = _enlarged(torch.from_numpy(seeds), images)[said].to(torch.uint8)
    return found


def averaged(region: Tensor, own: Tensor, otherwise: Tensor) -> Tensor:
    """Of each class the mean of two answers whose masks agree: each has a part of the truth, as no two err alike.

    Args:
        region: of :func:`by_regions`, (slices, classes, size, size).
        own: a network's answer, of the same shape.
        otherwise: what is believed where the two are not of the same finding.
    """
    agree = overlap(region, own) > AGREED
    return torch.where(agree[None, :, None, None], (region + own) / 2, otherwise)


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Dice of the masks that two answers (slices, classes, size, size) make, of each class, (classes,)."""
    first, second = one > 0.5, other > 0.5
    both, all_ = (first & second).sum(dim=(0, 2, 3)), first.sum(dim=(0, 2, 3)) + second.sum(dim=(0, 2, 3))
    return 2 * both / all_.clamp(min=1)


def _enlarged(maps: Tensor, images: Tensor) -> Tensor:
    """Maps (slices, rows, columns) of regions at the size of the images."""
    return functional.interpolate(maps[:, None], images.shape[2:], mode="nearest")[:, 0]


def _best_regions(images: Tensor, presence: Tensor, evidence: Tensor) -> list[Region | None]:
    """The region that fits each class best, None where none does; arguments as above."""
    side, voxels = images.shape[-1], len(images) * images[0, 0].numel()
    step = max(math.ceil(side / LARGEST_SIDE), math.ceil(math.sqrt(voxels / MOST_VOXELS)))
    seen, speaks = (functional.avg_pool2d(each.float().cpu(), step).numpy() for each in (images, evidence))
    tissue = np.stack([~reaching_border(plane) for plane in seen.max(axis=1) <= AIR])
    found: list[Region | None] = []
    for k, known in enumerate(presence.cpu().numpy().T):
        candidates = _regions(seen, _Known(known == YES, known == NO, tissue, speaks[:, k]))
        found.append(max(candidates, key=lambda region: region.likeness, default=None))
    return [None if _taken(region, found) else region for region in found]


def _taken(region: Region | None, regions: list[Region | None]) -> bool:
    """Whether another class, which it fits better, has half of a region."""
    if region is None:
        return False
    mask = region.in_scan()
    better = [other for other in regions if other is not None and other.likeness > region.likeness]
    return any(2 * (mask & other.in_scan()).sum() > mask.sum() for other in better)


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (slices, rows, columns) and :data:`AROUND` pixels around it in plane."""
    side = 2 * AROUND + 1
    found: NDArray[np.bool_] = ndimage.maximum_filter(mask, (1, side, side), mode="constant")
    return found


def _core(mask: NDArray[np.bool_]) -> int:
    """How many pixels of a mask (slices, rows, columns) have all four beside them in it."""
    inner = mask[:, 1:-1, 1:-1] & mask[:, :-2, 1:-1] & mask[:, 2:, 1:-1] & mask[:, 1:-1, :-2] & mask[:, 1:-1, 2:]
    return int(np.count_nonzero(inner))


def _mean(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    return float(values[mask].mean(dtype=np.float64))


def merge_classes(per_class: Tensor, presence: Tensor) -> Tensor:
    """One label per pixel from the seeds of every class.

    A pixel that two classes claim is not labelled; background is what is
    background to every class, and a slice that is known to be free of a class
    is background to it.

    Args:
        per_class: (slices, classes, size, size) uint8 of 1, 255, 0; looked at
            where presence is yes.
        presence: (slices, classes) of 1, 0, -1.

    Returns:
        (slices, size, size) uint8.
    """
    shown, absent = (presence == YES)[:, :, None, None], (presence == NO)[:, :, None, None]
    claimed = (per_class == 1) & shown
    nothing = ((per_class == BACKGROUND) & shown) | absent
    order = torch.arange(1, per_class.shape[1] + 1, dtype=torch.uint8).view(1, -1, 1, 1)
    alone = claimed.sum(dim=1, dtype=torch.uint8) == 1
    one = torch.where(alone, (claimed * order).sum(dim=1, dtype=torch.uint8), 0)
    return torch.where(nothing.all(dim=1), BACKGROUND, one)


@dataclass(frozen=True)
class _Known:
    """What is known of a class in a scan.

    Attributes:
        shown, absent: (slices,) bool, slices that show the class, and that do not.
        tissue: (slices, rows, columns) bool.
        evidence: of the same shape, what speaks for the class.
    """

    shown: NDArray[np.bool_]
    absent: NDArray[np.bool_]
    tissue: NDArray[np.bool_]
    evidence: NDArray[np.float32]


def _regions(images: NDArray[np.float32], known: _Known) -> Iterator[Region]:
    """All regions of every channel, bright and dark ones, that may be the finding."""
    tissue, there = known.tissue, known.tissue & known.shown[:, None, None]
    if not there.any():
        return
    weight = np.maximum(ndimage.gaussian_filter(tissue.astype(np.float32), SMOOTHED), 1e-3)
    for channel in images.swapaxes(0, 1):
        level = channel / max(channel[tissue].std(), 1e-6)
        for bright in (level, -level):
            smooth = ndimage.gaussian_filter(bright * tissue, SMOOTHED) / weight
            left = tissue
            for threshold in np.unique(np.quantile(smooth[there], LEVELS)):
                pieces = _numbered((smooth > threshold) & left)
                planes = [np.bincount(plane.ravel(), minlength=pieces.max() + 1) for plane in pieces[known.shown]]
                of_slice = np.stack(planes)
                cover = np.count_nonzero(of_slice, axis=0) / len(of_slice)
                cover[0] = 0
                left = (cover >= LEAST_COVER)[pieces]  # no part of a piece reaches over more slices than it does
                fitting = np.flatnonzero(cover >= LEAST_COVER)
                for number in fitting[np.argsort(of_slice[:, fitting].sum(axis=0))[::-1][:LARGEST]]:
                    region = _fitting(pieces == number, float(cover[number]), bright, known)
                    if region is not None:
                        yield region
                if not fitting.size:
                    break


def _numbered(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Connected pieces of a mask from 1 on, 0 elsewhere."""
    found, near = np.zeros(mask.shape, np.int32), extent(mask)
    found[near], _ = ndimage.label(mask[near], _TOUCHING)
    return found


def _fitting(piece: NDArray[np.bool_], cover: float, bright: NDArray[np.float32], known: _Known) -> Region | None:
    """A piece, if it may be the finding.

    What counts is how much of the slices that show the class it reaches (``cover``), how little of it
    lies on slices that do not, by how much both its brightness and what speaks for the class
    exceed what is around it, and that it is a lump and no shell, as a scalp is.
    """
    of_slice = np.count_nonzero(piece, axis=(1, 2))
    size = of_slice.sum()
    leak = of_slice[known.absent].sum() / size
    if size < LEAST_VOXELS or leak > MOST_LEAK:
        return None
    where = extent(piece, room=AROUND)
    mask = piece[where]
    around = _widened(mask) & ~mask & known.tissue[where]
    inside, outside = (part & known.shown[where[0]][:, None, None] for part in (mask, around))
    if not outside.any():
        return None
    brighter, speaks = (_mean(each[where], inside) - _mean(each[where], outside) for each in (bright, known.evidence))
    lump = _core(mask) / size
    if min(brighter, speaks, lump) <= LEAST:
        return None
    return Region(where, mask, bright, float(cover * (1 - leak) ** 2 * brighter * speaks * lump))
