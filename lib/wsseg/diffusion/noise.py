"""Maps of noised slices, summed over noise levels and averaged over noise draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from wsseg.diffusion.schedule import NoiseSchedule


def slice_noise(images: Tensor, slices: Tensor, seed: int, step: int, draw: int) -> Tensor:
    """Standard normal noise for some slices of ``images``, sampled on the CPU by slice, level and draw."""
    planes = []
    for index in slices.tolist():
        rng = np.random.default_rng([seed, index, step, draw])
        planes.append(torch.from_numpy(rng.standard_normal(images.shape[1:], np.float32)))
    return torch.stack(planes).to(images.device)


def over_noise(
    map_of: Callable[[Tensor, int], Tensor],
    images: Tensor,
    slices: Tensor,
    schedule: NoiseSchedule,
    *,
    sigmas: Sequence[float],
    draws: int,
    classes: int,
    seed: int,
    chunk: int,
    progress: Callable[[float], None],
) -> Tensor:
    """A map of some slices: its sum over noise levels, its mean over noise draws; on the CPU.

    Every slice draws its own noise by seed, index, level and draw, so the
    result does not depend on what else is in the batch.

    Args:
        map_of: noisy slices (n, 1, size, size) and their step to maps (n, classes, size, size).
        images: (slices, 1, size, size) in [-1, 1].
        slices: indices into ``images``.
        sigmas: noise levels, each in (0, 1).
        chunk: slices at a time.
    """
    total = torch.zeros(len(slices), classes, *images.shape[2:])
    levels = [schedule.step_of(sigma) for sigma in sigmas]
    passes = list(product(levels, range(draws), torch.arange(len(slices)).split(chunk)))
    for done, (step, draw, part) in enumerate(passes):
        noise = slice_noise(images, slices[part], seed, step, draw)
        steps = torch.full((len(part),), step, device=images.device)
        total[part] += map_of(schedule.add_noise(images[slices[part]], noise, steps), step).cpu() / draws
        progress((done + 1) / len(passes))
    return total
