"""The derivative of a diffusion model's output with respect to its condition.

Each function takes noisy slices (batch, 1, size, size) at one noise level and
returns a float32 map of the same shape: how much brighter the model would make
each pixel for "present" than for "absent".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from wsseg.diffusion.schedule import NoiseSchedule

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Network: noisy (B, 1, H, W), steps (B,), condition (B, width) to velocity."""

LogProbability = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Classifier: noisy (B, 1, H, W), steps (B,), state (B,) to log p(state | x_t, t), (B,)."""


@dataclass(frozen=True)
class Contrast:
    """One network under two conditions.

    Attributes:
        network: the denoiser.
        schedule: of its noise.
        present, absent: the conditions f(1) and f(0), each (1, width).
    """

    network: Velocity
    schedule: NoiseSchedule
    present: Tensor
    absent: Tensor

    def branches(self, batch: int, tau: float) -> Tensor:
        """f(1) and tau f(1) + (1 - tau) f(0), each so many times, (2 batch, width)."""
        mixed = tau * self.present + (1 - tau) * self.absent
        return torch.cat([self.present.expand(batch, -1), mixed.expand(batch, -1)])

    def clean(self, noisy: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """x_0 of noisy slices (batch, 1, size, size) under conditions (batch, width), float32."""
        return self.schedule.clean_of(noisy, self.network(noisy, steps, condition).float(), steps)


def difference(contrast: Contrast, noisy: Tensor, step: int, tau: float) -> Tensor:
    """One step: (x_0[f(1)] - x_0[tau f(1) + (1 - tau) f(0)]) / (1 - tau).

    Both branches go through the network in one batch. tau = 0 is plain present
    minus absent.
    """
    batch = len(noisy)
    steps = torch.full((2 * batch,), step, device=noisy.device)
    clean = contrast.clean(torch.cat([noisy, noisy]), steps, contrast.branches(batch, tau))
    return (clean[:batch] - clean[batch:]) / (1 - tau)


def exact(contrast: Contrast, noisy: Tensor, step: int) -> Tensor:
    """The limit tau -> 1: forward-mode derivative at f(1) along f(1) - f(0)."""
    batch = len(noisy)
    steps = torch.full((batch,), step, device=noisy.device)

    def clean(condition: Tensor) -> Tensor:
        return contrast.clean(noisy, steps, condition)

    present = contrast.present.expand(batch, -1)
    along = (contrast.present - contrast.absent).expand(batch, -1)
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward mode
        tangent: Tensor = torch.func.jvp(clean, (present,), (along,))[1]
    return tangent


def trajectory(
    contrast: Contrast,
    noisy: Tensor,
    step: int,
    tau: float,
    length: int,
    guide: LogProbability | None = None,
    scale: float = 0.0,
) -> Tensor:
    """The published form: differences summed over DDIM steps from one noisy slice.

    Two trajectories of stride 1 from ``step`` down, under f(1) and under
    tau f(1) + (1 - tau) f(0), run in one batch; x_0 is clamped to the data's
    range and eps recomputed from it (algorithm 1 of the paper).

    Args:
        length: number of steps, R in the paper.
        guide, scale: CG-CDM: eps is shifted by -sigma s grad log p(y | x_t, t)
            with y = 1 on the first branch and y = 0 on the mixed one.
    """
    batch, schedule = len(noisy), contrast.schedule
    condition = contrast.branches(batch, tau)
    state = torch.cat([torch.ones(batch), torch.zeros(batch)]).to(noisy.device).long()
    both = torch.cat([noisy, noisy])
    total = torch.zeros_like(noisy)
    for current in range(step, step - length, -1):
        steps = torch.full((2 * batch,), current, device=noisy.device)
        clean = contrast.clean(both, steps, condition).clamp(-1, 1)
        noise = schedule.noise_of(both, clean, steps)
        if guide is not None:
            alpha, sigma = schedule.at(steps)
            noise = noise - sigma * scale * _gradient(guide, both, steps, state)
            clean = (both - sigma * noise) / alpha
        both = schedule.add_noise(clean, noise, steps - 1)
        total += both[:batch] - both[batch:]
    return total / (1 - tau)


def class_gradient(classifier: Callable[[Tensor, Tensor], Tensor], noisy: Tensor, step: int, k: int) -> Tensor:
    """|grad_{x_t} log p(y_k = 1 | x_t, t)| of the noise-conditioned classifier, each slice divided by its mean.

    Args:
        classifier: noisy slices and steps to logits (batch, classes).
    """

    def log_probability(point: Tensor, steps: Tensor, state: Tensor) -> Tensor:
        return functional.logsigmoid(classifier(point, steps)[:, k].float())

    steps = torch.full((len(noisy),), step, device=noisy.device)
    found = _gradient(log_probability, noisy, steps, steps).abs()
    return found / found.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)


def _gradient(guide: LogProbability, noisy: Tensor, steps: Tensor, state: Tensor) -> Tensor:
    with torch.enable_grad():
        point = noisy.detach().requires_grad_()
        return torch.autograd.grad(guide(point, steps, state).sum(), point)[0].float()
