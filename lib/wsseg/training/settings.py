"""How a training run is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wsseg.models.record import SCRATCH, TakenPart


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a run is carried out; what is learned stands in the method's settings.

    Attributes:
        folder: of this run; holds the checkpoint and TensorBoard curves.
        seed: of weights, batches, noise and augmentation.
        origin: of the weights that training starts from.
        frozen: where the parts came from that are not trained.
        begun: where the weights came from that parts began with; none where it started from a version of its own.
        fresh: start as a new model does, forget checkpoint and version.
        steps: replaces each stage's default number of steps; an interrupted run may go on under another.
        minutes: of training; replaces the number of steps, each stage having its part of the time.
        save_every: seconds between checkpoints; a kill loses at most so much.
        mixed: bf16 where the hardware has it; off for exact comparisons.
        compile: fuse each stage's network with torch.compile, which needs a
            C++ compiler; pays after some hundred steps (1.5 times on two
            cores). Refused where a stage trains several networks at once.
        held_back: part of the patients that is not trained on. On their labels
            a stage's best average is chosen, and a result is published only if
            it is not worse than what it started from.
    """

    folder: Path
    seed: int = 0
    origin: str = SCRATCH
    frozen: Mapping[str, TakenPart] = field(default_factory=dict)
    begun: Mapping[str, TakenPart] = field(default_factory=dict)
    fresh: bool = False
    steps: int | None = None
    minutes: float | None = None
    save_every: float = 120.0
    mixed: bool = True
    compile: bool = False
    held_back: float = 0.0
