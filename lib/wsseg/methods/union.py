"""Union: one compact network that learns from whatever labels there are, of any kinds at once.

With y the pixels that people drew on and p the network's softmax, one term for
each thing that a label may say::

    CE(p, y) on drawn pixels
    + overlap(p, y) on slices that are drawn on as a whole
    + absence: -log(1 - p) of classes that are not on the slice, or not on that side of the patient
    + 0.1 presence: -log p at the pixels most like a class that is
    + boxes: nothing outside, a rounded body inside, which fades
    + borders: a gated CRF, which takes masks to the borders of the image

Every drawn pixel counts the same, but background together five times the classes
at most: classes weighed alike made masks swell, ten times shrank what is faint. The
network sees where a pixel lies in the scan, without which it takes one side for the
other. What ships is the moving average of the weights. Left out, since in one short
trial each (strokes on hippocampi, one seed) they brought nothing: an averaged teacher
with pseudo-labels on what is not drawn, relabelling all scans for a fresh student,
and a term against pixels that look unlike what was drawn on their slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from wsseg.data.augment import PLACES, Variety, places
from wsseg.data.kinds.registry import KINDS
from wsseg.data.slices import Batch, neighbouring
from wsseg.losses.absence import absence_loss, other_side_loss, pooled_presence_loss
from wsseg.losses.box import box_loss
from wsseg.losses.gated_crf import gated_crf
from wsseg.losses.pixels import drawn_cross_entropy, overlap_loss
from wsseg.methods.base import Method, Prediction, Settings, Stage
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.masks import against_background
from wsseg.networks.residual_unet import ResidualUNet

RISE = 0.2
"""Part of training after which the CRF has its full weight; it would smooth away masks that are still noise."""

FADED = 0.3
"""Part of the body that boxes ask for which has faded at the end of training."""

Width = Annotated[int, Field(ge=16, le=2048)]


class UnionSettings(Settings):
    """Settings of the union learner.

    Attributes:
        widths: channels of the network's levels, the finest first, at half the resolution.
        channels: of an image: 1, or the windows of a CT.
        neighbours: slices on either side that are seen with each.
        crop: side in pixels of the square that is trained on.
        mirrored: left and right may change places; not where classes have a side.
        borders: weight of the CRF.
        steps: of training, where no time is set.
        rate: AdamW's.
        batch: slices a step.
    """

    widths: tuple[Width, ...] = Field((24, 48, 96, 160, 192), min_length=2, max_length=8)
    channels: int = Field(1, ge=1, le=8)
    neighbours: int = Field(1, ge=0, le=8)
    crop: int = Field(128, ge=16, le=1024)
    mirrored: bool = False
    borders: float = Field(4.0, ge=0, le=1000)
    steps: int = Field(1500, ge=1, le=10_000_000)
    rate: float = Field(2e-3, gt=0, le=1)
    batch: int = Field(10, ge=1, le=1024)


class Union(Method[UnionSettings]):
    """A residual U-Net taught by every kind of label.

    Args:
        settings: see :class:`UnionSettings`.
        classes: number of findings.
    """

    settings_type = UnionSettings
    learns_from = tuple(KINDS.values())
    minutes = 15.0
    finds_pieces = True

    def __init__(self, settings: UnionSettings, classes: int) -> None:
        super().__init__(settings, classes)
        measured = settings.channels > 1  # Hounsfield units, which mean the same everywhere
        self.variety = Variety(
            angle=0.3,
            scale=0.22,
            shift=0.1,
            gamma=0.05 if measured else 0.35,
            gain=0.03 if measured else 0.2,
            crop=settings.crop,
            neighbours=settings.neighbours,
            mirrored=settings.mirrored,
            aimed=True,
            placed=True,
        )
        seen = settings.channels * (1 + 2 * settings.neighbours) + PLACES
        self.network = ResidualUNet(seen, classes + 1, settings.widths)

    def stages(self) -> Sequence[Stage]:
        settings = self.settings
        return [Stage("labels", self.network, settings.steps, settings.rate, settings.batch)]

    def recalibrate(self, batches: Iterable[Batch]) -> None:
        """Means and variances of the averaged network's batch normalisation."""
        update_bn((batch.images for batch in batches), self.network)

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        logits, targets = self.network(batch.images).float(), batch.targets
        log_probability = functional.log_softmax(logits, dim=1)
        target, known = targets.known_pixels()
        whole = targets.whole
        found = {
            "pixels": drawn_cross_entropy(logits, target, known),
            "overlap": overlap_loss(logits, target, known & whole[:, None, None]) if whole.any() else logits.sum() * 0,
            "absence": absence_loss(log_probability, targets.presence),
            "other side": other_side_loss(log_probability, targets.side, targets.half),
        }
        found["presence"] = 0.1 * pooled_presence_loss(log_probability, targets.presence)
        found["outside boxes"], body = box_loss(log_probability, targets.boxes)
        found["in boxes"] = (1 - FADED * batch.done) * body
        weight = self.settings.borders * min(1.0, batch.done / RISE)
        found["borders"] = weight * gated_crf(log_probability.exp(), self._middle(batch.images))
        return found

    def _middle(self, images: Tensor) -> Tensor:
        """The slices themselves, of images that hold their neighbours too."""
        first = self.settings.neighbours * self.settings.channels
        return images[:, first : first + self.settings.channels]

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        levels = self.network.encode(self._seen(images, slices.cpu()))
        return levels[len(levels) // 2], levels[-1]

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        found = self._probabilities(images, pass_)
        against = against_background(found)
        return Prediction(prompt.clear(against), prompt.decide(against.flatten(2).amax(dim=2)))

    def _probabilities(self, images: Tensor, pass_: Pass) -> Tensor:
        """The network's answers (slices, 1 + classes, size, size) on the CPU."""
        found = []
        for part in torch.arange(len(images)).split(pass_.chunk):
            seen = self._seen(images, part)
            found.append(torch.softmax(self.network(seen).float(), dim=1).cpu())
            pass_.progress((int(part[-1]) + 1) / len(images))
        return torch.cat(found)

    def _seen(self, images: Tensor, slices: Tensor) -> Tensor:
        """Some slices, by indices on the CPU, as the network sees them: with those beside them and where they lie."""
        beside = neighbouring(slices, self.settings.neighbours, 0, len(images) - 1).to(images.device)
        where = places(torch.linspace(-1, 1, len(images))[slices].to(images.device), images.shape[2:])
        seen = torch.cat([images[beside].flatten(1, 2), where], dim=1)
        return seen.contiguous(memory_format=torch.channels_last)
