"""The average of the weights that meets labels held back best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from wsseg.data.slices import LabelledSlices
from wsseg.inference.device import slices_per_pass
from wsseg.methods.base import Method


def held_back_score(method: Method, held: LabelledSlices) -> float | None:
    """How well a method meets labels that were held back, None where that cannot be told."""
    chunk = slices_per_pass(next(method.parameters()).device, held.images.shape[-1], method.pixel_bytes)
    with torch.no_grad():
        found = method.score(held, chunk)
    return None if math.isnan(found) else found


@dataclass
class Best:
    """The average that has met the labels held back best so far; of equals the last."""

    score: float = -1.0
    state: list[Tensor] = field(default_factory=list)

    def keep(self, score: float, module: nn.Module) -> None:
        """Take over a module's weights with its running statistics, which belong to them."""
        self.score, self.state = score, [tensor.detach().clone() for tensor in _state_of(module)]

    def restore(self, module: nn.Module) -> None:
        """Put it back into the module, if there was any."""
        for tensor, kept in zip(_state_of(module), self.state, strict=bool(self.state)):
            tensor.data.copy_(kept)


def _state_of(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
