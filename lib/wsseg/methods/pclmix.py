"""PCLMix: dynamic mix, uncertainty-guided pixel contrast, dual consistency (arXiv 2405.06288).

Scribbles teach two decoders over one encoder, of convolutions and of Swin
blocks; each also learns from what both say of a mixture of slices. Only the
convolutional one is kept.

The loss of one step, with c and t what the two decoders say of slices x, c~ and
t~ of their mixture x~, y and y~ scribbles, q~ the mixture of labels for what
nobody labelled::

    pCE(c, y) + pCE(c~, y~) + ramp(i) CE(c~, q~)
    + auxiliary (pCE(t, y) + pCE(t~, y~) + ramp(i) CE(t~, q~))
    + contrast(i) L_contrast + consistency(i) (MSE(c, t) + MSE(c~, t~))
    + absence A(c) + borders(i) CRF(c)

Unlike the published code: a class is denied on slices of which strokes say that
it is not there; labels q are soft, of a teacher that is the moving average of
both decoders, mixed of what its decoders say in random parts (Han et al. 2024,
DMSPS), where that is sure for the class; published are those of the decoders
themselves, as if they were certain (``soft`` off). They count little while they
are young (at full weight from the first step they cost 0.03 of Dice). Borders
follow those of the image by a gated conditional random field. Consistency
compares probabilities, not logits; background has its own means in the memory,
and empty places are never sampled; no entry of the memory is left out; the
limit of doubt is a part of the entropy that the number of classes allows; a
batch without anchors is no error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from wsseg.data.augment import Variety
from wsseg.data.kinds.registry import CORRECTIONS, SCRIBBLES
from wsseg.data.slices import Batch, LabelledSlices, neighbouring
from wsseg.errors import WssegError
from wsseg.losses.absence import absence_loss
from wsseg.losses.gated_crf import gated_crf
from wsseg.losses.memory_contrast import ClassMemory, believed, choose_anchors, memory_contrast
from wsseg.losses.mix import Mix
from wsseg.losses.pixels import pixel_cross_entropy
from wsseg.losses.soft_labels import ClassCertainty, mixed_opinions, soft_cross_entropy
from wsseg.methods.base import Count, Method, Prediction, Rate, Settings, Stage, Steps, Temperature, Weight, Width
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.held_back import dice_beside_borders, volume_agreement
from wsseg.methods.shared.masks import against_background, mask_of
from wsseg.methods.shared.place import square_around
from wsseg.methods.shared.poses import POSES, Pose, posed, unposed
from wsseg.methods.shared.teacher import AveragedTeacher
from wsseg.networks.residual_unet import ResidualUNet
from wsseg.networks.shared_unet import SharedUNet
from wsseg.networks.swin_decoder import SwinDecoder

DEEP = slice(2, 5)
"""Levels of the encoder that the second decoder sees: at a quarter of the resolution, an eighth and a sixteenth."""

MULTIPLE = 16
"""The plain U-Net halves four times, so sides are multiples of this."""

RISE = 0.2
"""Part of training after which it has its full weight."""

_Part = Annotated[float, Field(ge=0, le=1)]


class PCLMixSettings(Settings):
    """Settings of PCLMix.

    Attributes:
        network: "residual", whose first level is at half the resolution, or "plain", which is slower.
        widths: channels of the encoder's five levels.
        crop: side in pixels of the square that is trained on, and looked at
            again around what was found.
        neighbours: slices on either side that are seen with each: they tell where
            the heart ends.
        turned: slices may come in any quarter turn, mirrored or not.
        mix: learn from mixed slices.
        contrast: greatest weight of the contrast; 0 leaves it out.
        consistency: greatest weight of the decoders' agreement; 0 leaves it out.
        auxiliary: weight of the auxiliary decoder's own losses; without mix,
            contrast and consistency there is partial cross-entropy alone.
        soft: labels of what nobody labelled are a teacher's probabilities; else
            the decoders' own classes, one decoder's for each slice of a mixture.
        drop_path: probability that a slice passes a Swin block by.
        absence: weight of what denies a class on slices that are known not to show it; 0 leaves it out.
        borders: greatest weight of the gated conditional random field; 0 leaves it out.
        doubt: entropy above which a pseudo-label is not believed, in parts of
            the greatest: at the start and at the end.
        embedding: length of the vectors that contrast compares.
        memory: class means kept of each class.
        anchors: most anchors of a class in an image.
        temperature: of the contrast.
        steps: of training.
        rate: AdamW's.
        batch: slices a step.
    """

    network: Literal["residual", "plain"] = "residual"
    widths: tuple[Width, Width, Width, Width, Width] = (24, 48, 96, 160, 192)
    crop: int = Field(128, ge=MULTIPLE, le=2048, multiple_of=MULTIPLE)
    neighbours: int = Field(1, ge=0, le=8)
    turned: bool = True
    mix: bool = True
    contrast: Weight = 0.15
    consistency: Weight = 1.0
    auxiliary: Weight = 0.4
    soft: bool = True
    drop_path: float = Field(0.1, ge=0, lt=1)
    absence: Weight = 1.0
    borders: Weight = 1.0
    doubt: tuple[_Part, _Part] = (0.375, 0.5)
    embedding: int = Field(64, ge=2, le=1024)
    memory: int = Field(500, ge=1, le=100_000)
    anchors: int = Field(64, ge=2, le=10_000)
    temperature: Temperature = 0.07
    steps: Steps = 6000
    rate: Rate = 1e-3
    batch: Count = 8

    @model_validator(mode="after")
    def _parts_have_what_they_need(self) -> Self:
        if not self.mix and (self.contrast or self.consistency):
            raise ValueError("contrast and consistency need mix, which brings the second decoder")
        if self.mix and not self.auxiliary:
            raise ValueError("mix needs auxiliary, without which the second decoder learns nothing")
        return self


class PCLMix(Method[PCLMixSettings]):
    """A U-Net taught by scribbles, with a second decoder while it learns.

    Args:
        settings: see :class:`PCLMixSettings`.
        classes: number of findings.
    """

    settings_type = PCLMixSettings
    training_only = ("auxiliary", "embed", "memory", "teacher", "second_teacher", "certainty")
    learns_from = (SCRIBBLES,)
    heeds = (CORRECTIONS,)
    pixel_bytes = 1000  # in four poses

    def __init__(self, settings: PCLMixSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.variety = Variety(
            turned=settings.turned,
            angle=0.35,
            scale=0.22,
            shift=0.35,
            gamma=0.35,
            gain=0.15,
            lift=0.4,
            crop=settings.crop,
            neighbours=settings.neighbours,
        )
        seen = 1 + 2 * settings.neighbours
        self.network: ResidualUNet | SharedUNet = (
            ResidualUNet(seen, classes + 1, settings.widths)
            if settings.network == "residual"
            else SharedUNet(settings.widths, classes + 1, seen)
        )
        channels = self.network.channels
        self.auxiliary = self.training_part(lambda: SwinDecoder(channels[DEEP], classes + 1, settings.drop_path))
        width = channels[DEEP][1]
        self.embed = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, settings.embedding, 1)
        )
        self.memory = ClassMemory(classes + 1, settings.embedding, settings.memory)
        taught = settings.mix and settings.soft
        self.teacher = AveragedTeacher(self.network) if taught else None
        self.second_teacher = AveragedTeacher(self.auxiliary) if taught else None
        self.certainty = ClassCertainty(classes + 1)

    def stages(self) -> Sequence[Stage]:
        settings = self.settings
        used = [self.network, *([self.auxiliary] if settings.mix else []), *([self.embed] if settings.contrast else [])]
        return [Stage("scribbles", nn.ModuleList(used), settings.steps, settings.rate, settings.batch)]

    def recalibrate(self, batches: Iterable[Batch]) -> None:
        """Means and variances of the kept network's batch normalisation, of slices that are not mixed."""
        update_bn((batch.images for batch in batches), self.network)

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        settings, images = self.settings, batch.images
        target, known = batch.targets.known_pixels()
        if not settings.mix:
            logits = self.network(images)
            return {"scribbles": _partial(logits, target, known), **self._of_slices(logits, batch)}
        if len(images) < 2:
            raise WssegError("PCLMix mixes slices: each process needs two of a batch, use fewer processes")
        mix = Mix.draw(batch.uniform, *images.shape[2:])
        levels = self.network.encode(torch.cat([images, mix(images, images)]))
        ours, mixed_ours = self.network.decode(levels).chunk(2)
        with _reproducible(batch.uniform):
            theirs, mixed_theirs = self.auxiliary(levels[DEEP]).chunk(2)
        labels, where = self._labels(batch, mix, known, ours, theirs)
        mixed_target, mixed_known = mix(target, target), mix(known, known)
        found = {"scribbles": _partial(ours, target, known) + _partial(mixed_ours, mixed_target, mixed_known)}
        trust = _ramp(batch.done)
        found["pseudo-labels"] = trust * soft_cross_entropy(mixed_ours, labels, where)
        found["auxiliary"] = settings.auxiliary * (
            _partial(theirs, target, known)
            + _partial(mixed_theirs, mixed_target, mixed_known)
            + trust * soft_cross_entropy(mixed_theirs, labels, where)
        )
        if settings.consistency:
            apart = _disagreement(ours, theirs) + _disagreement(mixed_ours, mixed_theirs)
            found["consistency"] = settings.consistency * trust * apart
        if settings.contrast:
            limit = settings.doubt[0] + (settings.doubt[1] - settings.doubt[0]) * trust
            sure = believed(ours.detach(), theirs.detach(), target, known, limit)
            weight = settings.contrast * batch.done**0.9
            found["contrast"] = weight * self._contrast(levels[DEEP][1][: len(images)], sure, ours, batch.uniform[:, 2])
        return {**found, **self._of_slices(ours, batch)}

    @torch.no_grad()
    def _labels(self, batch: Batch, mix: Mix, known: Tensor, ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (batch, 1 + classes, rows, columns) that the mixture is to have, and where they count."""
        if self.teacher is None or self.second_teacher is None:
            one, other = (torch.softmax(logits.float(), dim=1) for logits in (ours, theirs))
            hard = functional.one_hot(mix(one, other).argmax(dim=1), one.shape[1]).movedim(-1, 1)
            return hard.float(), torch.ones_like(known)
        network, auxiliary = self.teacher.follow(self.network), self.second_teacher.follow(self.auxiliary)
        levels = network.encode(batch.images)
        share = batch.uniform[:, 1] * 1009 % 1  # the digits after those that order the slices
        soft = mixed_opinions(network.decode(levels), auxiliary(levels[DEEP]), share)
        sure = self.certainty.sure(soft, ~known)
        return mix(soft, soft), mix(sure, sure)

    def _of_slices(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """What is known of slices that are not mixed: what is not there, and where the image has borders.

        Who drew background on a slice drew every class that is there; beyond the first and the last slice that a
        class was drawn on there is none either. The random field would smooth away masks that are still noise.
        """
        settings, found = self.settings, {}
        if settings.absence:
            denied = absence_loss(functional.log_softmax(logits.float(), dim=1), batch.targets.presence, hardest=0.0)
            found["absence"] = settings.absence * denied
        if settings.borders:
            middle = batch.images[:, settings.neighbours, None]
            energy = gated_crf(torch.softmax(logits.float(), dim=1), middle)
            found["borders"] = settings.borders * min(1.0, batch.done / RISE) * energy
        return found

    def _contrast(self, level: Tensor, labels: Tensor, logits: Tensor, position: Tensor) -> Tensor:
        """Contrast of the pixels of an encoder level with the memory, which then takes up the batch's means."""
        embedded = functional.normalize(self.embed(level).float(), dim=1)
        size = level.shape[2:]
        small = functional.interpolate(labels[:, None].float(), size, mode="nearest-exact")[:, 0].long()
        said = functional.interpolate(logits.float(), size, mode="nearest-exact").argmax(dim=1)
        chosen = choose_anchors(small, said, self.settings.anchors, position)
        anchors, classes = embedded.movedim(1, -1)[chosen], small[chosen]
        loss = memory_contrast(anchors, classes, self.memory, self.settings.temperature)
        self.memory.push(embedded, small)
        return loss

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        beside = neighbouring(slices.cpu(), self.settings.neighbours, 0, len(images) - 1)
        levels = self.network.encode(images[beside.to(images.device), 0])
        return levels[2], levels[4]

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        """Look at the whole slices, then again at the square around what was found."""
        against = against_background(self._looks(images, pass_).mean(dim=0))
        return Prediction(against, prompt.decide(against.flatten(2).amax(dim=2)))

    def score(self, held: LabelledSlices, chunk: int) -> float:
        """Agreement with strokes, most of all beside those of other classes, times that of volumes over poses.

        Strokes keep away from borders, so that Dice on them alone sees neither
        a border that is off nor a class that swells.
        """
        device = next(self.parameters()).device
        masks, agreement = torch.zeros_like(held.targets.pixels), []
        for case in range(len(held.cases)):
            rows = held.case == case
            looks = self._looks(held.images_at(rows).to(device), Pass(chunk))
            masks[rows] = mask_of(against_background(looks.mean(dim=0)))
            agreement.append(volume_agreement([mask_of(against_background(look)) for look in looks], self.classes))
        dice = dice_beside_borders(masks, *held.targets.known_pixels(), self.classes)
        return dice * float(torch.tensor(agreement).mean())

    def _looks(self, images: Tensor, pass_: Pass) -> Tensor:
        """What is found in each pose, (poses, slices, 1 + classes, rows, columns) on the CPU."""
        beside = neighbouring(torch.arange(len(images)), self.settings.neighbours, 0, len(images) - 1)
        images = images[beside.to(images.device), 0]
        whole = self._probabilities(images, POSES[:1], pass_.part(0, 0.2))[0]
        rows, columns = square_around(whole[:, 1:].sum(dim=1), self.settings.crop)
        poses = POSES if self.settings.turned else POSES[:2]
        near = self._probabilities(images[:, :, rows, columns], poses, pass_.part(0.2, 1))
        found = torch.zeros(len(poses), *whole.shape)
        found[:, :, 0] = 1.0
        found[..., rows, columns] = near
        return found

    def _probabilities(self, images: Tensor, poses: Sequence[Pose], pass_: Pass) -> Tensor:
        """The network's answers (poses, slices, 1 + classes, ...) on the CPU, laid back."""
        found = []
        for part in torch.arange(len(images)).split(pass_.chunk):
            seen = torch.cat([_posed(images[part], pose) for pose in poses])  # squares, or a single pose
            answers = torch.softmax(self.network(seen.contiguous(memory_format=torch.channels_last)).float(), dim=1)
            laid_back = [unposed(own, pose) for own, pose in zip(answers.chunk(len(poses)), poses, strict=True)]
            found.append(torch.stack(laid_back).cpu())
            pass_.progress((int(part[-1]) + 1) / len(images))
        return torch.cat(found, dim=1)


@contextmanager
def _reproducible(uniform: Tensor) -> Iterator[None]:
    """Drop-path draws from the batch's randomness, as everything does, and leaves that of others alone."""
    devices = [uniform.device] if uniform.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(uniform[0, 2] * 2**31))
        yield


def _posed(slices: Tensor, pose: Pose) -> Tensor:
    """Slices (batch, neighbours, rows, columns) in a pose; mirrored is seen from the other end."""
    return posed(slices.flip(1) if pose[0] else slices, pose)


def _partial(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    return pixel_cross_entropy(logits, target, known, balanced=False)


def _disagreement(one: Tensor, other: Tensor) -> Tensor:
    return functional.mse_loss(torch.softmax(one.float(), dim=1), torch.softmax(other.float(), dim=1))


def _ramp(done: float) -> float:
    """exp(-5 (1 - i)^2), from nearly 0 to 1 (Laine and Aila 2017)."""
    return math.exp(-5 * (1 - done) ** 2)
