"""What a package records of itself: how it was trained, and how well it does."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from wsseg.labels.space import Strict

SCRATCH = "random weights"
"""Origin of a training that started from none."""

Given = Literal["nothing", "presence", "text"]
"""What a model was told beside the scan."""

_Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
_Score = Annotated[float, Field(ge=0, le=1)]


class TakenPart(Strict):
    """Where the weights of a part came from, of another package.

    Attributes:
        package, version: of the model that they were copied from.
        part: of that model's method.
        sha256: of that model's file of weights, in hexadecimal.
    """

    package: str
    version: str
    part: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    def __str__(self) -> str:
        return f"{self.part} of {self.package} {self.version}, sha256 {self.sha256}"


class StageRecord(Strict):
    """One stage as it was trained: its steps, slices a step and learning rate."""

    steps: _Count
    batch: _Count
    rate: float = Field(ge=0, le=10)

    def __str__(self) -> str:
        return f"{self.steps} steps of {self.batch} slices, learning rate {self.rate:g}"


class LabelQuality(Strict):
    """How right the pixels are that a method labels for itself, of one class or of background, in [0, 1]."""

    precision: _Score
    recall: _Score

    def __str__(self) -> str:
        return f"precision {self.precision:.3f}, recall {self.recall:.3f}"


class TrainingRecord(Strict):
    """One training.

    Attributes:
        scans, slices: how many it learned from.
        labelled: slices by the kind of label that they bore.
        positive: slices marked to show a class; None where presence was not labelled.
        seed: of weights, batches, noise and augmentation.
        origin: of the weights that it started from: a version, or :data:`SCRATCH`.
        stages: by name, in order.
        seconds: of training, interrupted runs included.
        hardware: in words.
        score: on labels held back, higher is better; None where none were, or nothing could be told.
        before: score of the version that it started from, on the same labels.
        frozen: parts of the method that were taken from other packages.
        begun: parts that were trained, beginning with weights of other packages.
        pixel_labels: how right the method's own were when they were checked, by class.
        job: of the server that trained it; empty for the command line.
    """

    scans: _Count
    slices: _Count
    labelled: dict[str, _Count] = {}
    positive: _Count | None = None
    seed: int = Field(ge=0, le=2**63 - 1)
    origin: str
    stages: dict[str, StageRecord] = {}
    seconds: float = Field(ge=0, le=1e9)
    hardware: str
    score: _Score | None = None
    before: _Score | None = None
    frozen: dict[str, TakenPart] = {}
    begun: dict[str, TakenPart] = {}
    pixel_labels: dict[str, LabelQuality] = {}
    job: str = ""

    @property
    def worse(self) -> bool:
        """Whether it scores worse than the version it started from."""
        return self.score is not None and self.before is not None and self.score < self.before

    def lines(self) -> dict[str, str]:
        """All of it for people, what by how much."""
        shown: dict[str, object] = {"scans": self.scans, "slices": self.slices}
        shown |= {f"slices with {kind}": count for kind, count in self.labelled.items()}
        shown |= {"positive slices": self.positive, "seed": self.seed, "started from": self.origin}
        shown |= {f"stage {name}": stage for name, stage in self.stages.items()}
        shown |= {"wall time": timedelta(seconds=int(self.seconds)), "hardware": self.hardware}
        shown |= {"held-back score": self.score, "held-back score before": self.before}
        shown |= {f"frozen {name}": part for name, part in self.frozen.items()}
        shown |= {f"{name} began with": part for name, part in self.begun.items()}
        shown |= {f"labels of {name}": quality for name, quality in self.pixel_labels.items()}
        return {what: f"{value}" for what, value in shown.items() if value is not None}


class Metric(StrEnum):
    """What a figure measures."""

    DICE = "dice"
    IOU = "iou"
    HD95 = "hd95"
    AUC = "auc"
    CONFIDENCE = "confidence"
    """Spearman's rank correlation of predicted with true Dice; in packages it bears its earlier name."""

    @property
    def heading(self) -> str:
        """For people, with the unit where there is one."""
        return _TITLES[self]


_TITLES = {
    Metric.DICE: "Dice",
    Metric.IOU: "IoU",
    Metric.HD95: "HD95 mm",
    Metric.AUC: "AUC",
    Metric.CONFIDENCE: "rank correlation of predicted and true Dice",
}


class Figure(Strict):
    """One measured result.

    Attributes:
        metric: what was measured; HD95 in mm, all others without a unit.
        over: what it is a mean over, or of which class, in a few words.
        given: what the model was told.
        value: mean over noise seeds.
        spread: standard deviation over them.
        seeds: how many.
    """

    metric: Metric
    over: str
    given: Given
    value: float = Field(ge=-1e6, le=1e6)
    spread: float = Field(ge=0, le=1e6)
    seeds: int = Field(ge=1, le=10_000)

    @property
    def title(self) -> str:
        """The quantity and its protocol."""
        return f"{self.metric.heading}, {self.over}, {self.given} given"
