"""What a prediction is given: what people said of the scan, and how the computing is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wsseg.data.kinds.base import LabelKind
from wsseg.data.kinds.registry import PRESENCE, TEXT
from wsseg.labels.space import NO, UNKNOWN, YES

Progress = Callable[[float], None]
"""Called with the finished part of something, in [0, 1]."""


@dataclass(frozen=True)
class Prompt:
    """What is known of the slices that are to be segmented beside their pixels; where nothing is, the method decides.

    Attributes:
        presence: (slices, classes) of 1, 0, -1 (unknown), on the CPU; None where nothing is known.
        text: a sentence on the scan, "" for none.
        fits: p-value of the scan's being of the kind that the model was trained on; 1 where that is not known.
    """

    presence: Tensor | None = None
    text: str = ""
    fits: float = 1.0

    def kinds(self) -> list[LabelKind]:
        """The kinds of labels that are given."""
        given = ((PRESENCE, self.presence is not None), (TEXT, bool(self.text)))
        return [kind for kind, there in given if there]

    @property
    def tells_apart(self) -> bool:
        """Whether some class is known to be on some slices and not on all others."""
        if self.presence is None:
            return False
        shown, denied = ((self.presence == state).sum(dim=0) for state in (YES, NO))
        return bool(((shown > 0) & (denied > 0) & (shown + denied == len(self.presence))).any())

    def told(self, classes: int) -> Tensor:
        """Of which classes every slice is told, (classes,) bool."""
        if self.presence is None:
            return torch.zeros(classes, dtype=torch.bool)
        return (self.presence != UNKNOWN).all(dim=0)

    def decide(self, shown: Tensor) -> Tensor:
        """Presence (slices, classes) in [0, 1]: as given where it is known, else as estimated."""
        if self.presence is None:
            return shown
        return torch.where(self.presence == UNKNOWN, shown, self.presence.to(shown))


@dataclass(frozen=True)
class Pass:
    """One run of a method over slices.

    Attributes:
        chunk: slices, or tiles of a picture, that fit into memory at once.
        seed: of the noise, if any; each slice has its own.
        progress: called now and then.
    """

    chunk: int
    seed: int = 0
    progress: Progress = lambda part: None

    def part(self, begin: float, end: float) -> Pass:
        """The same for a part of the work, whose progress runs from ``begin`` to ``end``."""
        return replace(self, progress=lambda part: self.progress(begin + (end - begin) * part))

    def step(self, index: int, count: int) -> Pass:
        """The same for one of ``count`` equal steps."""
        return self.part(index / count, (index + 1) / count)
