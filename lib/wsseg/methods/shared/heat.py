"""What methods that make a heat map share: smoothing, thresholds, and from a map to a mask."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from wsseg.methods.shared.labelling.regions import by_regions


def blur(maps: Tensor, plane: float, across: float) -> Tensor:
    """Gaussian smoothing of (slices, size, size), sigmas in pixels and in slices."""
    return torch.from_numpy(ndimage.gaussian_filter(maps.numpy(), (across, plane, plane)))


def located(
    images: Tensor,
    slices: Tensor,
    shown: Tensor,
    maps: Tensor,
    threshold: float | Literal["otsu"],
    regions: bool,
) -> Tensor:
    """Where the classes are in some slices of a scan, from a heat map of each.

    Args:
        images: (all slices, channels, size, size) in [-1, 1].
        slices: indices into ``images``; those that show a class.
        shown: (len(slices), classes) bool, which classes they show.
        maps: signed, (len(slices), classes, rows, columns) of any size.
        threshold: as for :func:`calibrate`.
        regions: a class is the region of the scan that fits the map best; else what exceeds the threshold,
            as it is where no region reaches.

    Returns:
        Probabilities (len(slices), classes, size, size).
    """
    wide = functional.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)
    above = calibrate(wide.clamp(min=0), threshold)
    if not regions:
        return above

    def of_scan(values: Tensor) -> Tensor:
        every = values.new_zeros(len(images), *values.shape[1:])
        every[slices] = values
        return every

    return by_regions(images.cpu(), of_scan(shown.to(torch.int8)), of_scan(wide), of_scan(above))[slices]


def calibrate(maps: Tensor, threshold: float | Literal["otsu"]) -> Tensor:
    """Maps (slices, classes, size, size) to probabilities that are 0.5 at the threshold.

    Args:
        threshold: a value of the map, or Otsu's, found for every slice and class.
    """
    if threshold != "otsu":
        return to_probability(maps, threshold)
    return torch.stack([to_probability(plane, otsu_thresholds(plane)) for plane in maps.unbind(1)], dim=1)


def otsu_thresholds(maps: Tensor) -> Tensor:
    """Otsu's threshold of each map (slices, size, size), as (slices, 1, 1); none is passed where a map is flat."""
    from skimage.filters import threshold_otsu  # not needed for predicting, and takes its time to load

    found = [threshold_otsu(plane) if plane.min() < plane.max() else np.inf for plane in maps.numpy()]
    return torch.tensor(found, dtype=torch.float32).view(-1, 1, 1)


def over_neighbours(probabilities: Tensor, shown: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing over neighbouring slices of (slices, classes, size, size), sigma in slices, 0 for none.

    Only slices that show a class take part; the others stay 0.

    Args:
        shown: (slices, classes) bool.
    """
    if sigma == 0:
        return probabilities
    weight = shown.float().numpy()
    smooth = ndimage.gaussian_filter1d(probabilities.numpy(), sigma, axis=0)
    share = ndimage.gaussian_filter1d(weight, sigma, axis=0).clip(min=1e-6)
    return torch.from_numpy(smooth * (weight / share)[:, :, None, None])


def to_probability(maps: Tensor, threshold: Tensor | float) -> Tensor:
    """Map linearly so that 0 stays 0, the threshold becomes 0.5 and twice it 1.

    Linear, so that thresholding after bilinear upsampling means the same as
    before it.
    """
    return (maps / (2 * torch.as_tensor(threshold))).clamp(0, 1)
