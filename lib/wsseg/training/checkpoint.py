"""What an interrupted run leaves, so that it goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from wsseg.errors import WssegError
from wsseg.files import whole_file

CHECKPOINT = "checkpoint.pt"


LABELS = "labels.safetensors"
"""The pixel labels of the running stage, which the method made for itself."""

BEGUN = "weights to begin with"
"""The term of a plan that names them."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps.

    Attributes:
        plan: what must not change while it is interrupted, in words and numbers for a message.
        method: all its weights.
        stage, step: the next to do, from 0.
        carried: steps that were carried out of each stage before.
        seconds: of training.
        origin: of the weights that it started from.
        optimizer, average: their states, None between two stages.
        best: score and weights of the best average of the stage.
        curve, scores: see :class:`wsseg.training.progress.TrainingProgress`.
    """

    plan: dict[str, Any]
    method: dict[str, Tensor]
    stage: int
    step: int
    carried: list[int]
    seconds: float
    origin: str
    optimizer: dict[str, Any] | None = None
    average: dict[str, Any] | None = None
    best: tuple[float, list[Tensor]] = (-1.0, [])
    curve: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Checkpoint | None:
        """The state in a file, read without unpickling code; None where there is no file.

        Raises:
            WssegError: it is damaged.
        """
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if "carried" not in state:
                state["carried"] = _carried(state.pop("done", None), state["stage"], state["plan"])
            state["plan"].setdefault(BEGUN, {})  # an older one began with random weights
            return cls(**state)
        except (RuntimeError, EOFError, OSError, UnpicklingError, TypeError, KeyError) as error:
            raise WssegError(f"{path}: the checkpoint is damaged; start again with --fresh") from error

    def write(self, path: Path) -> None:
        """Replace the file as a whole."""
        with whole_file(path) as part:
            torch.save(vars(self), part)

    def check_plan(self, plan: dict[str, Any], path: Path) -> None:
        """Refuse to go on under other terms; of a term that an older version did not note nothing can be told.

        Raises:
            WssegError: with what is different.
        """
        other = [key for key, value in plan.items() if self.plan.get(key, value) != value]
        if other:
            told = ", ".join(f"{key} {self.plan[key]} then, {plan[key]} now" for key in other)
            raise WssegError(f"{path}: was interrupted under other terms ({told}); start again with --fresh")


def _carried(done: int | None, stage: int, plan: dict[str, Any]) -> list[int]:
    """Steps of the stages before, of which older versions noted the sum, and the oldest that they were as planned."""
    if done is None:
        return list(plan["steps"].values())[:stage]
    return [done * (k + 1) // stage - done * k // stage for k in range(stage)]
