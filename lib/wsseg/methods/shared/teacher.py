"""A teacher that is the moving average of its student (Tarvainen and Valpola 2017)."""

from __future__ import annotations

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

DECAY = 0.99

ModuleType = TypeVar("ModuleType", bound=nn.Module)


class AveragedTeacher(nn.Module, Generic[ModuleType]):
    """A copy of a module that follows it and is never trained; it drops nothing out.

    Args:
        student: the module.
    """

    steps: Tensor

    def __init__(self, student: ModuleType) -> None:
        super().__init__()
        self.module = deepcopy(student).requires_grad_(False).eval()
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def train(self, mode: bool = True) -> AveragedTeacher[ModuleType]:
        """Stays as for prediction."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, student: ModuleType) -> ModuleType:
        """The copy after a step towards the student, in weights and running statistics; the first goes all the way."""
        decay = min(DECAY, int(self.steps) / (int(self.steps) + 9))
        for own, theirs in zip(self.module.state_dict().values(), student.state_dict().values(), strict=True):
            if own.is_floating_point():
                own.lerp_(theirs.to(own.dtype), 1 - decay)
            else:
                own.copy_(theirs)
        self.steps += 1
        return self.module
