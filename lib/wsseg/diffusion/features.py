"""Activations of a frozen diffusion U-Net as features of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from wsseg.diffusion.schedule import NoiseSchedule

_taken: ContextVar[dict[int, Tensor] | None] = ContextVar("taken", default=None)
"""Where the taps of the running thread put what they see; None outside of a call."""


class FeatureTaps:
    """Takes the activations of some modules of a network while it denoises.

    Safe to call from several threads.

    Args:
        network: the frozen denoiser.
        modules: of it, each called once in a pass; whose outputs are taken.
    """

    def __init__(self, network: Callable[..., Tensor], modules: Sequence[nn.Module]) -> None:
        self.network, self.count = network, len(modules)
        for index, module in enumerate(modules):
            module.register_forward_hook(_taker(index))

    def __call__(self, noisy: Tensor, steps: Tensor, *condition: Tensor) -> list[Tensor]:
        """Features of noisy slices (batch, channels, size, size) per module: (batch, channels, rows, columns)."""
        found: dict[int, Tensor] = {}
        token = _taken.set(found)
        try:
            with torch.no_grad():
                self.network(noisy, steps, *condition)
        finally:
            _taken.reset(token)
        return [found[index] for index in range(self.count)]


def noised_features(
    taps: FeatureTaps,
    schedule: NoiseSchedule,
    sigmas: Sequence[float],
    images: Tensor,
    noise: Tensor,
    *condition: Tensor,
) -> list[Tensor]:
    """Features per module, coarsest first, those of all noise levels side by side, in one batch of the frozen network.

    Args:
        images, noise: (batch, channels, rows, columns).
        condition: (1, width) vectors, where the network takes any.
    """
    steps = torch.tensor([schedule.step_of(s) for s in sigmas], device=images.device).repeat_interleave(len(images))
    noisy = schedule.add_noise(images.repeat(len(sigmas), 1, 1, 1), noise.repeat(len(sigmas), 1, 1, 1), steps)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    taken = taps(noisy, steps, *(vector.expand(len(noisy), -1) for vector in condition))
    return [torch.cat(level.chunk(len(sigmas)), dim=1) for level in taken]


def _taker(index: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def take(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if (found := _taken.get()) is not None:
            found[index] = output

    return take
