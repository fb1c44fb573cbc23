"""Union: one compact network that learns from whatever labels there are, of any kinds at once.

First it learns from the labels alone. With y the pixels that people drew on,
p the network's softmax, one term for each thing that a label may say::

    CE(p, y) on drawn pixels, those of slices without any class being background
    + overlap(p, y) on slices that are drawn on as a whole
    + absence: -log(1 - p) of classes that are not on the slice
    + 0.1 presence: -log p at the pixels most like a class that is
    + boxes: nothing outside, a rounded body inside, which fades
    + borders: a gated CRF, which takes masks to the borders of the image

Then it labels all training scans itself (self-training, Lee 2013): what people
said overrules, a mean over neighbouring slices smooths, and the least sure part
of each class is left out. It goes on from those labels, with cross-entropy and
overlap, as from masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from wsseg.data.augment import Variety
from wsseg.data.kinds import KINDS
from wsseg.data.slices import Batch, LabelledSlices, neighbouring
from wsseg.data.targets import Targets, first_said
from wsseg.labels.space import BACKGROUND, NO
from wsseg.losses.absence import absence_loss, pooled_presence_loss
from wsseg.losses.box import box_loss
from wsseg.losses.gated_crf import gated_crf
from wsseg.losses.pixels import overlap_loss, pixel_cross_entropy
from wsseg.methods.base import Method, Prediction, Settings, Stage
from wsseg.methods.prompt import Pass, Prompt
from wsseg.networks.residual_unet import ResidualUNet

WEAK, AGAIN = "labels", "relabelled"
"""The stages."""

ALIKE = 0.1
"""Intensities in [-1, 1] so far apart are alike to the CRF, a third of the spread within tissue."""

RISE = 0.2
"""Part of the first stage after which the CRF has its full weight; it would smooth away masks that are still noise."""

FADED = 0.7
"""Part of the body that boxes ask for which has faded at the end of the first stage."""

UNSURE, UNSURE_BACKGROUND = 0.2, 0.02
"""Least sure part of each class and of background that relabelled slices leave out."""

BESIDE = 0.1
"""Weight of each neighbouring slice in a relabelled one."""

WHOLE = 0.5
"""A slice labelled in more of its pixels was drawn on as a whole."""

Width = Annotated[int, Field(ge=16, le=2048)]
Steps = Annotated[int, Field(ge=1, le=10_000_000)]


class UnionSettings(Settings):
    """Settings of the union learner.

    Attributes:
        widths: channels of the network's levels, the finest first, at half the resolution.
        channels: of an image: 1, or the windows of a CT.
        neighbours: slices on either side that are seen with each.
        crop: side in pixels of the square that is trained on.
        mirrored: left and right may change places; not where classes have a side.
        borders: weight of the CRF.
        steps: of the two stages.
        rate: AdamW's.
        batch: slices a step.
    """

    widths: tuple[Width, ...] = Field((24, 48, 96, 160, 192), min_length=2, max_length=8)
    channels: int = Field(1, ge=1, le=8)
    neighbours: int = Field(1, ge=0, le=8)
    crop: int = Field(128, ge=16, le=1024)
    mirrored: bool = False
    borders: float = Field(4.0, ge=0, le=1000)
    steps: tuple[Steps, Steps] = (900, 600)
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

    def __init__(self, settings: UnionSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.variety = Variety(
            angle=0.3,
            scale=0.22,
            shift=0.1,
            gamma=0.35,
            gain=0.2,
            crop=settings.crop,
            neighbours=settings.neighbours,
            mirrored=settings.mirrored,
            aimed=True,
        )
        seen = settings.channels * (1 + 2 * settings.neighbours)
        self.network = ResidualUNet(seen, classes + 1, settings.widths)

    def stages(self) -> Sequence[Stage]:
        settings = self.settings
        return [
            Stage(name, self.network, steps, settings.rate, settings.batch, fading=True)
            for name, steps in zip((WEAK, AGAIN), settings.steps, strict=True)
        ]

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        logits, targets = self.network(batch.images).float(), batch.targets
        log_probability = functional.log_softmax(logits, dim=1)
        target, known = _drawn(targets)
        whole = known.flatten(1).float().mean(dim=1) > WHOLE
        found = {
            "pixels": pixel_cross_entropy(logits, target, known, balanced=False),
            "overlap": overlap_loss(logits, target, known & whole[:, None, None]) if whole.any() else logits.sum() * 0,
            "absence": absence_loss(log_probability, targets.presence),
        }
        if stage.name == WEAK:
            found["presence"] = 0.1 * pooled_presence_loss(log_probability, targets.presence)
            found["outside boxes"], body = box_loss(log_probability, targets.boxes)
            found["in boxes"] = (1 - FADED * batch.done) * body
            weight = self.settings.borders * min(1.0, batch.done / RISE)
            found["borders"] = weight * gated_crf(log_probability.exp(), self._middle(batch.images), ALIKE)
        return found

    def _middle(self, images: Tensor) -> Tensor:
        """The slices themselves, of images that hold their neighbours too."""
        first = self.settings.neighbours * self.settings.channels
        return images[:, first : first + self.settings.channels]

    def pixel_labels(self, stage: Stage, data: LabelledSlices, pass_: Pass) -> Tensor:
        """Those that people drew; before the second stage the network's own beside them."""
        if stage.name == WEAK:
            return data.targets.pixels
        device = next(self.parameters()).device
        made = []
        for case in range(len(data.cases)):
            rows = torch.nonzero(data.case == case)[:, 0]
            step = pass_.step(case, len(data.cases))
            found = self._probabilities(data.images[rows].to(device), step)
            made.append(_sure_labels(_as_told(_over_slices(found), data.targets.at(rows))))
        return first_said(data.targets.pixels, torch.cat(made))

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        found = self._probabilities(images, pass_)
        # Of the class against background: the greatest of several classes may have less than half of a pixel.
        against = found[:, 1:] / (found[:, 1:] + found[:, :1]).clamp(min=1e-6)
        return Prediction(prompt.clear(against), prompt.decide(against.flatten(2).amax(dim=2)))

    def _probabilities(self, images: Tensor, pass_: Pass) -> Tensor:
        """The network's answers (slices, 1 + classes, size, size) on the CPU."""
        beside = neighbouring(torch.arange(len(images)), self.settings.neighbours, 0, len(images) - 1)
        found = []
        for part in torch.arange(len(images)).split(pass_.chunk):
            seen = images[beside[part].to(images.device)].flatten(1, 2).contiguous(memory_format=torch.channels_last)
            found.append(torch.softmax(self.network(seen).float(), dim=1).cpu())
            pass_.progress((int(part[-1]) + 1) / len(images))
        return torch.cat(found)


def _drawn(targets: Targets) -> tuple[Tensor, Tensor]:
    """Class indices and where they are known; slices that show no class are background as a whole."""
    target, known = targets.known_pixels()
    return target, known | (targets.presence == NO).all(dim=1)[:, None, None]


def _over_slices(found: Tensor) -> Tensor:
    """Probabilities (slices, ...) as means with those of the slices beside them."""
    before, after = torch.cat([found[:1], found[:-1]]), torch.cat([found[1:], found[-1:]])
    return (1 - 2 * BESIDE) * found + BESIDE * (before + after)


def _as_told(found: Tensor, targets: Targets) -> Tensor:
    """Probabilities (slices, 1 + classes, size, size) without absent classes and what is outside their boxes."""
    boxed = targets.boxes.flatten(2).any(dim=2)[:, :, None, None]
    possible = (targets.presence != NO)[:, :, None, None] & (~boxed | (targets.boxes > 0))
    kept = torch.cat([found[:, :1], found[:, 1:] * possible], dim=1)
    return kept / kept.sum(dim=1, keepdim=True).clamp(min=1e-6)


def _sure_labels(found: Tensor) -> Tensor:
    """Pixel labels (slices, size, size) uint8 of the most probable class; 0 for the least sure part of each."""
    sure, label = found.max(dim=1)
    kept = torch.zeros_like(sure, dtype=torch.bool)
    for k in range(found.shape[1]):
        own = label == k
        if own.any():
            left_out = int((UNSURE if k else UNSURE_BACKGROUND) * (own.sum() - 1))
            kept |= own & (sure >= sure[own].sort().values[left_out])
    return torch.where(kept, torch.where(label == 0, BACKGROUND, label), 0).to(torch.uint8)
