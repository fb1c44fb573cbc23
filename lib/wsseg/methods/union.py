"""Union: one compact network that learns from whatever labels there are, of any kinds at once.

With y the pixels that people drew on and p the network's softmax, one term for
each thing that a label may say::

    CE(p, y) on drawn pixels
    + overlap(p, y) on slices that are drawn on as a whole
    + absence: -log(1 - p) of classes that are not on the slice, or not on that side of the patient;
      the pixels most like one that is not there count ever more
    + 0.1 presence: -log p at the pixels most like a class that is
    + 0.3 size: no less than is drawn, no more than strokes reach
    + boxes: nothing outside; where nothing is drawn inside, a rounded body, which fades
    + borders: a gated CRF, which takes masks to the borders of the image

Strokes, points and boxes are first completed by a network that knows shapes alone
(:mod:`wsseg.methods.shared.labelling.completion`): by itself this one draws borders half-way between strokes.
Of what is said to be on slices and drawn nowhere (``seeded``) y is first made: a patch classifier of
short sight learns what speaks for the class, and y is the region of the scan that fits both.

Classes weigh as the root of what is drawn of them: weighed alike, rare ones swelled. Background
together weighs five times the classes at most; ten times shrank what is faint. The
network sees where a pixel lies in the scan, without which it takes one side for the
other. Classes of which little of what is drawn is marked are made likelier at the end, and
masks of whole slices as large as boxes tell.
Training begins with weights that several tasks have taught (``union-start``); what
ships is the moving average. Left out, since in one short
trial each (strokes on hippocampi, one seed) they brought nothing: an averaged teacher
with pseudo-labels on what is not drawn, relabelling all scans for a fresh student,
and a term against pixels that look unlike what was drawn on their slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from wsseg.data.augment import PLACES, Variety, places
from wsseg.data.kinds.registry import KINDS
from wsseg.data.slices import Batch, LabelledSlices, evenly, neighbouring
from wsseg.data.targets import Targets, first_said
from wsseg.labels.space import NO, UNKNOWN, YES
from wsseg.losses.absence import HARDEST, absence_loss, other_side_loss, pooled_presence_loss
from wsseg.losses.box import box_loss
from wsseg.losses.gated_crf import gated_crf
from wsseg.losses.pixels import drawn_cross_entropy, overlap_loss
from wsseg.losses.size import size_loss
from wsseg.methods.base import Method, Prediction, Settings, Stage
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.labelling.completion import complete, completion_network
from wsseg.methods.shared.labelling.regions import AIR, averaged, by_regions, merge_classes, seeds_of_regions
from wsseg.methods.shared.masks import against_background
from wsseg.methods.shared.sizes import ThresholdFit, area_bounds
from wsseg.networks.residual_unet import ResidualUNet
from wsseg.networks.short_sighted import ShortSighted

RISE = 0.2
"""Part of training after which the CRF and sizes have their full weight, which masks that are noise say nothing of."""

SIZE = 0.3
"""Weight of the barrier on sizes; thrice as much lets what is faint vanish."""

MARKED = 0.5
"""Part of what is drawn of a class that is to be marked: a faint class may be less likely than not all over."""

MISTAKEN = 0.3
"""Of labelled pixels that are marked for that, the greatest part that is something else; what is not labelled tells
nothing. Necks by boxes had come to eight times their size where one of a hundred pixels of background was allowed."""

FEWEST = 20
"""Drawn pixels of a class that tell whether it is faint."""

TRIED = 30
"""Raises that are tried, from what all of that would take down to nothing."""

ASKED = 5
"""Batches that are asked how much of what is drawn is marked."""

FITTED_ON = 12
"""Scans of each class, evenly over the data, whose masks are compared with what is told of sizes."""

SEVERAL = 3
"""Scans with boxes of a class that tell its size though it is drawn on others: without, mixed labels swelled masks."""

FADED = 0.3
"""Part of the body that boxes ask for which has faded at the end of training."""

EVIDENCE = "evidence"
"""The stage before the network's own, where nothing is drawn."""

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
        seeded: nothing was drawn when it was trained: where classes are was first found from the word that
            they are on a slice; training tells by itself.
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
    seeded: bool = False
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
    pixel_bytes = 400
    frozen = ("completion",)
    training_only = ("completion",)

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
        self._seen_channels = settings.channels * (1 + 2 * settings.neighbours)
        self.network = ResidualUNet(self._seen_channels + PLACES, classes + 1, settings.widths)
        self.completion = self.training_part(completion_network)
        self.evidence = self._short_sighted() if settings.seeded else None

    def _short_sighted(self) -> ShortSighted:
        return ShortSighted(self._seen_channels, PLACES, self.classes)

    def meet(self, data: LabelledSlices) -> None:
        """Where nothing is drawn, what is said to be on slices is looked for first."""
        drawn = any(bool(data.targets.marked(k).any()) for k in range(self.classes))
        if self.evidence is None and not drawn:
            self.settings = self.settings.model_copy(update={"seeded": True})
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # the same in every process
                self.evidence = self._short_sighted()

    def stages(self) -> Sequence[Stage]:
        settings = self.settings
        labels = Stage("labels", self.network, settings.steps, settings.rate, settings.batch, makes_labels=True)
        if self.evidence is None:
            return [labels]
        steps = max(1, settings.steps // 3)
        evidence = Stage(EVIDENCE, self.evidence, steps, settings.rate, 2 * settings.batch, decides=False)
        return [evidence, labels]

    def pixel_labels(self, stage: Stage, data: LabelledSlices, pass_: Pass) -> Tensor:
        """What people drew, completed; seeds of classes that are said to be on slices of a scan, but drawn on none."""
        data = data.with_implied()
        drawn = complete(self.completion, data, pass_.step(0, 1 if self.evidence is None else 2))
        if self.evidence is None:
            return drawn
        device = next(self.parameters()).device
        found = torch.zeros(len(data.images), self.classes, *data.images.shape[2:], dtype=torch.uint8)
        for case in range(len(data.cases)):
            rows = torch.nonzero(data.case == case)[:, 0]
            images = data.images_at(rows).to(device)
            targets = data.targets.at(rows)
            marked = torch.stack([targets.marked(k).any() for k in range(self.classes)])
            presence = torch.where(marked, UNKNOWN, targets.presence)
            found[rows] = seeds_of_regions(images, presence, self._evidence(self.evidence, images, pass_.chunk))
            pass_.step(1, 2).progress((case + 1) / len(data.cases))
        return first_said(drawn, merge_classes(found, data.targets.presence))

    def recalibrate(self, batches: Iterable[Batch]) -> None:
        """Means and variances of the batch normalisation of the network that is trained; how ready it is to mark."""
        if self.evidence is not None and self.evidence.training:
            update_bn((batch.images[:, :-PLACES] for batch in batches), self.evidence.here)
        else:
            left = iter(batches)
            asked = list(islice(left, ASKED))
            update_bn((batch.images for batch in chain(asked, left)), self.network)
            self._mark_what_is_drawn(asked)

    @torch.no_grad()
    def _mark_what_is_drawn(self, batches: Sequence[Batch]) -> None:
        """Raise classes that are too faint to be marked where they are drawn, as far as what is none of them allows."""
        training = self.network.training
        self.network.eval()
        logits = torch.cat([self.network(batch.images).float() for batch in batches])
        targets = Targets.together([batch.targets for batch in batches])
        self.network.train(training)
        for k, margins in enumerate((logits[:, 1:] - logits[:, :1]).unbind(dim=1)):
            drawn = targets.pixels == k + 1
            wrong = (targets.pixels > 0) & ~drawn | (targets.presence[:, k] == NO)[:, None, None]
            self.network.favour(k + 1, _raise_of(margins, drawn, wrong))

    def fit_thresholds(self, data: LabelledSlices, pass_: Pass) -> None:
        """Let masks of whole slices be as large as boxes tell: those trained on are cut and varied.

        Of a class that is drawn on other scans a few boxes tell nothing: drawings tell more than guesses of sizes.
        """
        boxed = data.targets.boxed()
        several = torch.tensor([len(data.case[own].unique()) >= SEVERAL for own in boxed.T])
        boxed = boxed & (several | ~data.targets.drawn_classes())
        cases = {case for own in boxed.T for case in evenly(data.case[own].unique().tolist(), FITTED_ON)}
        sizes = ThresholdFit(boxed.any(dim=0))
        for number, case in enumerate(sorted(cases)):
            rows = torch.nonzero(data.case == case)[:, 0]
            with torch.no_grad():
                found = self.predict(data.images_at(rows), Prompt(), pass_.step(number, len(cases)))
            sizes.add(found.probabilities, area_bounds(data.targets.at(rows)))
        for k, by in enumerate(sizes.shifts()):
            self.network.favour(k + 1, by)

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        if self.evidence is not None and stage.name == EVIDENCE:
            return self._evidence_losses(self.evidence, batch)
        logits, targets = self.network(batch.images).float(), batch.targets
        log_probability = functional.log_softmax(logits, dim=1)
        target, known = targets.known_pixels()
        whole = targets.whole
        found = {
            "pixels": drawn_cross_entropy(logits, target, known),
            "overlap": overlap_loss(logits, target, known & whole[:, None, None]) if whole.any() else logits.sum() * 0,
            "absence": absence_loss(log_probability, targets.presence, HARDEST * batch.done),
            "other side": other_side_loss(log_probability, targets.side, targets.half),
        }
        found["presence"] = 0.1 * pooled_presence_loss(log_probability, targets.presence)
        found["outside boxes"], body = box_loss(log_probability, targets.boxes, targets.pixels)
        found["in boxes"] = (1 - FADED * batch.done) * body
        risen = min(1.0, batch.done / RISE)
        found["size"] = (
            SIZE * risen * size_loss(log_probability, targets.pixels, targets.stroked & ~targets.corrected[:, None])
        )
        found["borders"] = self.settings.borders * risen * gated_crf(log_probability.exp(), self._middle(batch.images))
        return found

    def _evidence_losses(self, network: ShortSighted, batch: Batch) -> dict[str, Tensor]:
        """Each pixel of tissue is asked what is on its slice."""
        seen, place = network(batch.images[:, :-PLACES], batch.images[:, -PLACES:])
        tissue = functional.avg_pool2d(self._middle(batch.images), 2).amax(dim=1, keepdim=True) > AIR
        presence = batch.targets.presence[:, :, None, None].expand(seen.shape)
        asked = tissue & (presence != UNKNOWN)
        found = {}
        for name, logits in (("seen", seen), ("place", place)):
            each = functional.binary_cross_entropy_with_logits(
                logits.float(), (presence == YES).float(), reduction="none"
            )
            found[name] = (each * asked).sum() / asked.sum().clamp(min=1)
        return found

    def _middle(self, images: Tensor) -> Tensor:
        """The slices themselves, of images that hold their neighbours too."""
        first = self.settings.neighbours * self.settings.channels
        return images[:, first : first + self.settings.channels]

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        levels = self.network.encode(self._seen(images, slices.cpu()))
        return levels[len(levels) // 2], levels[-1]

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        """The network's answer; of what was learned from presence also the region for which most speaks.

        That is taken of a class of which every slice is told, and averaged with the network's where the two agree.
        """
        own = against_background(self._probabilities(images, pass_))
        presence = prompt.decide(own.flatten(2).amax(dim=2))
        if self.evidence is None:
            return Prediction(own, presence)
        evidence = self._evidence(self.evidence, images, pass_.chunk)
        region = by_regions(images, torch.where(presence > 0.5, YES, NO), evidence, own)
        told = prompt.told(self.classes)[None, :, None, None]
        return Prediction(torch.where(told, region, averaged(region, own, own)), presence)

    def _evidence(self, network: ShortSighted, images: Tensor, chunk: int) -> Tensor:
        """What speaks for each class at each pixel of the slices of one scan."""
        parts = torch.arange(len(images)).split(chunk)
        return torch.cat([network.evidence(self._seen(images, part)[:, :-PLACES]).cpu() for part in parts])

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


def _raise_of(margins: Tensor, drawn: Tensor, wrong: Tensor) -> float:
    """What to add to the logits of a class so that enough of what is drawn of it is marked, and too little else.

    Args:
        margins: (slices, rows, columns), its logits less background's.
        drawn, wrong: as large, where it was drawn and where it is known not to be.
    """
    own, others = margins[drawn], margins[wrong]
    if len(own) < FEWEST or not len(others):
        return 0.0
    wanted = -float(own.kthvalue(len(own) - int(MARKED * (len(own) - 1))).values)
    for by in np.linspace(max(0.0, wanted), 0, TRIED):
        right, mistaken = ((each >= -by).sum() for each in (own, others))
        if mistaken <= MISTAKEN * (right + mistaken):
            return float(by)
    return 0.0
