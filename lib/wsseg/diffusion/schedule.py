"""Noise levels by sigma: a schedule addressed by how much noise it adds."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

STEPS = 1000


class NoiseSchedule:
    """A schedule of 1000 steps, x_t = alpha x_0 + sigma eps.

    Published settings name a step of a schedule that differs between their
    own files; sigma = sqrt(1 - alpha_bar) means the same in all of them.

    Args:
        kind: ours is the cosine; ADM learned with linear betas from 1e-4 to 0.02.
    """

    def __init__(self, kind: Literal["squaredcos_cap_v2", "linear"] = "squaredcos_cap_v2") -> None:
        betas = torch.linspace(1e-4, 0.02, STEPS) if kind == "linear" else _cosine()
        products = (1 - betas).cumprod(dim=0)
        self.alpha = products.sqrt()
        self.sigma = (1 - products).sqrt()

    def step_of(self, sigma: float) -> int:
        """The step whose noise level is nearest to ``sigma`` in (0, 1)."""
        return int((self.sigma - sigma).abs().argmin())

    def at(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma of steps (batch,), each (batch, 1, 1, 1)."""
        index = steps.long().cpu()
        shape = (-1, 1, 1, 1)
        return self.alpha[index].view(shape).to(steps.device), self.sigma[index].view(shape).to(steps.device)

    def add_noise(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """x_t of clean slices (batch, 1, size, size)."""
        alpha, sigma = self.at(steps)
        return alpha * clean + sigma * noise

    def velocity(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """The network's target v = alpha eps - sigma x_0 (Salimans & Ho 2022)."""
        alpha, sigma = self.at(steps)
        return alpha * noise - sigma * clean

    def clean_of(self, noisy: Tensor, velocity: Tensor, steps: Tensor) -> Tensor:
        """x_0 that a predicted velocity stands for."""
        alpha, sigma = self.at(steps)
        return alpha * noisy - sigma * velocity

    def noise_of(self, noisy: Tensor, clean: Tensor, steps: Tensor) -> Tensor:
        """eps that a predicted x_0 stands for."""
        alpha, sigma = self.at(steps)
        return (noisy - alpha * clean) / sigma

    def timesteps_between(self, low: float, high: float, position: Tensor) -> Tensor:
        """Steps uniform between two sigmas, from positions (batch,) in [0, 1)."""
        first, last = self.step_of(low), self.step_of(high)
        return first + torch.floor(position * (last - first + 1)).long()


def _cosine() -> Tensor:
    """Betas of which alpha_bar is a squared cosine (Nichol & Dhariwal 2021)."""
    bars = [math.cos((step / STEPS + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(STEPS + 1)]
    return torch.tensor([min(1 - after / before, 0.999) for before, after in pairwise(bars)])
