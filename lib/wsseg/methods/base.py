"""The contract of a method: what it trains, one training step, and prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from wsseg.data.augment import USUAL, Variety
from wsseg.data.kinds.base import LabelKind
from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.slices import Batch, LabelledSlices
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.agreement import Agreement


class Settings(BaseModel):
    """A method's settings, as they stand in a package's metadata."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Stage:
    """A part of a method that is trained on its own, one after the other.

    Attributes:
        name: part of file names, unique in its method.
        module: whose parameters are trained; all others stay frozen.
        steps: default number of steps.
        rate: AdamW's learning rate.
        batch: slices per step, over all processes.
        decides: masks are what its module says, so that it is scored on labels held back.
        makes_labels: what it learns from is made before it begins, see :meth:`Method.pixel_labels`.
    """

    name: str
    module: nn.Module
    steps: int
    rate: float
    batch: int
    decides: bool = True
    makes_labels: bool = False


@dataclass(frozen=True)
class Prediction:
    """What a method says of the slices of one volume.

    Attributes:
        probabilities: (slices, classes, size, size) in [0, 1]; the mask is
            where the greatest of them exceeds 0.5.
        presence: (slices, classes) in [0, 1].
        negative: whether it is of the scan's negative, on which the finding looks as in training.
    """

    probabilities: Tensor
    presence: Tensor
    negative: bool = False


# What settings are made of. All are bounded: a package from elsewhere may ask for no more than a machine has.
Sigma = Annotated[float, Field(gt=0, lt=1)]
"""A noise level: the part of noise in a noised slice."""

Sigmas = Annotated[tuple[Sigma, ...], Field(min_length=1, max_length=32)]
Width = Annotated[int, Field(ge=1, le=2048)]
"""Channels of a layer."""

Widths = Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)]
"""Channels per level, finest first."""

Side = Annotated[int, Field(ge=16, le=2048)]
"""Pixels along a square."""

Count = Annotated[int, Field(ge=1, le=1024)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]
"""Of a loss beside others."""

Blur = Annotated[float, Field(ge=0, le=50)]
"""Sigma of a Gaussian, in pixels or slices."""

Temperature = Annotated[float, Field(gt=0, le=100)]
Threshold = Annotated[float, Field(gt=0, le=1e6)]

SettingsType = TypeVar("SettingsType", bound=Settings)
"""The settings of a method: ``class CDM(Method[CDMSettings])``."""


_predicting: ContextVar[bool] = ContextVar("predicting", default=False)


@contextmanager
def for_prediction() -> Iterator[None]:
    """Methods made meanwhile leave out what only training needs, and the libraries that it takes seconds to load."""
    token = _predicting.set(True)
    try:
        yield
    finally:
        _predicting.reset(token)


class Method(nn.Module, ABC, Generic[SettingsType]):
    """One published method with its networks.

    Holds no loop over data, no file and no device.

    Args:
        settings: of ``settings_type``.
        classes: number of findings, background not counted.

    Attributes:
        settings_type: what settings of packages are checked against.
        learns_from: kinds of labels of which it needs one or more; scans without any of them are left out.
        heeds: further kinds that it makes use of where there are.
        prompts: kinds that a prediction makes use of.
        draws_noise: predictions differ by the seed.
        frozen: modules that are never trained here; they come from other packages. Others whose recipe names
            one begin with its weights.
        training_only: modules that prediction does without; packages leave them out.
        variety: how much training slices are varied.
        minutes: of training where nothing else is asked for; None trains the stages' own steps.
        finds_pieces: training tells whether each class is one piece; else the package does.
        pixel_bytes: of activations, for each pixel of a slice that is looked at: by it slices are computed as many
            at once as fit. CDM's two branches take 3,400 (torch.profiler), the rest is for wider networks.
    """

    settings_type: type[SettingsType]
    learns_from: ClassVar[tuple[LabelKind[Any], ...]]
    heeds: ClassVar[tuple[LabelKind[Any], ...]] = ()
    prompts: ClassVar[tuple[LabelKind[Any], ...]] = (PRESENCE,)
    training_only: ClassVar[tuple[str, ...]] = ()
    draws_noise: ClassVar[bool] = False
    frozen: tuple[str, ...] = ()
    variety: Variety = USUAL
    minutes: ClassVar[float | None] = None
    finds_pieces: ClassVar[bool] = False
    pixel_bytes: ClassVar[int] = 5000

    @abstractmethod
    def __init__(self, settings: SettingsType, classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.classes = classes

    @staticmethod
    def training_part(make: Callable[[], nn.Module]) -> nn.Module:
        """A module of ``training_only``; an empty one within :func:`for_prediction`."""
        return nn.Identity() if _predicting.get() else make()

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """What is trained, in order."""

    @abstractmethod
    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        """One training step's losses, means over the batch; their sum is minimised.

        Called inside DistributedDataParallel with this process's share of the
        step's batch, half of it positive; randomness comes from ``batch`` alone.
        """

    def meet(self, data: LabelledSlices) -> None:
        """Called once before every training, with what it is: settings that follow from the labels are made here."""

    def recalibrate(self, batches: Iterable[Batch]) -> None:
        """Called after a moving average has taken the place of weights: what was measured with those is measured anew.

        Args:
            batches: some of the training data, for one pass.
        """

    def fit_thresholds(self, data: LabelledSlices, pass_: Pass) -> None:
        """Called once at the end of every training: thresholds of classes that only whole slices tell are fitted.

        Args:
            data: what was learned from.
            pass_: of predictions on it.
        """

    def pixel_labels(self, stage: Stage, data: LabelledSlices, pass_: Pass) -> Tensor:
        """Labels of pixels (slices, size, size) that a stage learns from which makes them; else people's are.

        Called once before the stage, with the weights as they are then.

        Args:
            data: on the CPU, as the result.
        """
        return data.targets.pixels

    @abstractmethod
    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        """Segment the slices of one volume.

        Args:
            images: (slices, 1, size, size) in [-1, 1], neighbours in order; or of
                a colour picture (1, 3, rows, columns).
            prompt: where it says nothing the method decides by itself. What it denies need not be cleared of
                probabilities: the segmenter does so.
        """

    @abstractmethod
    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        """What the network's encoder makes of some slices: by it a scan is told from those that were trained on.

        Args:
            images: as for :meth:`predict`.
            slices: indices into ``images``, few; of a picture, the first only.

        Returns:
            Activations (n, channels, rows, columns) at two depths, the finer first.
        """

    def score(self, held: LabelledSlices, chunk: int) -> float:
        """How well labels are met that were never trained on, in [0, 1], nothing given; NaN where that cannot be told.

        Here the agreement of masks, see :class:`wsseg.methods.shared.agreement.Agreement`.
        """
        agreement, device = Agreement(self.classes), next(self.parameters()).device
        for case in range(len(held.cases)):
            rows = held.case == case
            found = self.predict(held.images_at(rows).to(device), Prompt(), Pass(chunk))
            targets = held.targets.at(torch.nonzero(rows)[:, 0])
            agreement.add(found.probabilities.cpu(), found.presence.cpu(), targets)
        return agreement.score()
