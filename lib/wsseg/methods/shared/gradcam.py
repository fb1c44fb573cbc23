"""Grad-CAM++ (Chattopadhyay et al. 2018, arXiv 1710.11063) through MONAI, its traps avoided."""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from wsseg.methods.prompt import Progress


def gradcam_map(classifier: nn.Module, layer: str, images: Tensor, k: int, progress: Progress) -> Tensor:
    """Where a classifier looks for class ``k``: (slices, size, size) on the CPU, each slice scaled to [0, 1].

    One slice at a time: MONAI multiplies the scores of a batch along the wrong
    axis. On a copy: its hooks stay on the network it is given.

    Args:
        layer: whose activations are weighted; its grid is the map's resolution.
        images: (slices, 1, size, size).
    """
    from monai.visualize import GradCAMpp  # loading MONAI takes seconds, which predicting need not wait for

    maps = []
    with torch.enable_grad(), torch.autocast(images.device.type, enabled=False):  # weights are ratios of tiny numbers
        cam = GradCAMpp(deepcopy(classifier).requires_grad_(True), layer, postprocessing=_scale)
        for index in range(len(images)):
            maps.append(cast(Tensor, cam(images[index : index + 1], class_idx=k))[0, 0].detach().float().cpu())
            progress((index + 1) / len(images))
    return torch.stack(maps)


def _scale(maps: Tensor) -> Tensor:
    """Each slice to [0, 1], bright where the evidence is (MONAI's default is dark there)."""
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-8)
