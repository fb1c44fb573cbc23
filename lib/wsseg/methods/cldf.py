"""CLDF (arXiv 2506.23460): contrastive pixel embeddings on frozen diffusion features.

A conditional diffusion model that learned from image-level labels is frozen; a
small decoder learns from its features which pixels belong together. The pixels
to learn from are those of the region that several heat maps speak for. One pass of the frozen
network per noise level segments, instead of CDM's many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from wsseg.data.kinds.registry import CORRECTIONS, SCRIBBLES
from wsseg.data.slices import Batch, LabelledSlices
from wsseg.data.targets import first_said
from wsseg.diffusion.derivative import Contrast, class_gradient, difference
from wsseg.diffusion.features import FeatureTaps, noised_features
from wsseg.diffusion.noise import over_noise, slice_noise
from wsseg.diffusion.schedule import NoiseSchedule
from wsseg.labels.space import NO, YES
from wsseg.losses.contrast import contrast_loss, sample_pixels
from wsseg.losses.pixels import overlap_loss, pixel_cross_entropy
from wsseg.methods.base import Blur, Prediction, Side, Sigmas, Stage, Steps, Temperature, Width, Widths
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.agreement import presence_auc
from wsseg.methods.shared.gradcam import gradcam_map
from wsseg.methods.shared.heat import blur, over_neighbours
from wsseg.methods.shared.labelling.regions import averaged, by_regions, merge_classes, seeds_of_regions
from wsseg.methods.shared.presence import ImageLabelMethod, ImageLabelSettings, mirrored_presence, smaller
from wsseg.networks.classifier import NoisyClassifier, resnet18
from wsseg.networks.pixel_decoder import PixelDecoder
from wsseg.networks.unet import ConditionalUNet

SURE = 1e-3
"""Probabilities nearer to 0 or 1 say no more."""

SEEDS = "seeds"
"""The stage that learns from seeds; all others learn from the method's own predictions."""


class CLDFSettings(ImageLabelSettings):
    """Settings of CLDF; the frozen networks' come first.

    Attributes:
        widths, classifier_widths: of the frozen diffusion model and its noise-conditioned classifier.
        cam_widths, cam_layer: of the frozen classifier that Grad-CAM++ looks at.
        diffusion_size: pixels of the slices that the frozen networks see.
        sigmas: noise levels of the features, one frozen pass each.
        levels: decoder levels tapped, 0 is the coarsest.
        width, embedding: channels inside the decoder, and of a pixel's vector.
        native: the decoder also looks at the image at the package's own size.
        maps: what speaks for seeds.
        map_sigmas: noise levels that the maps of derivative and gradient are summed over.
        seed_blur: Gaussian smoothing of the maps in pixels of ``diffusion_size``.
        loss: on the seeds; "contrastive" trains the embedding by contrast and
            only the prototypes by cross-entropy.
        temperature: of the contrast and of the cosine to the prototypes.
        readout: a pixel is of its nearest prototype, or of its slice's cluster
            that is nearest to it.
        slice_blur: Gaussian smoothing of the probabilities over neighbouring slices, in slices.
        seed_steps: training on the seeds.
        self_rounds, self_steps: rounds of training on the regions that the method's own predictions, as they
            are before the round, speak for; and their length.
    """

    widths: Widths = (32, 64, 128, 128)
    classifier_widths: Widths = (24, 48, 96, 128, 128)
    cam_widths: tuple[Width, Width, Width, Width] = (32, 64, 128, 256)
    cam_layer: Literal["layer1", "layer2", "layer3", "layer4"] = "layer3"
    diffusion_size: Side = 64

    sigmas: Sigmas = (0.2, 0.4, 0.6)
    levels: tuple[Annotated[int, Field(ge=0, le=7)], ...] = Field((0, 1, 2, 3), min_length=1, max_length=8)
    width: int = Field(48, ge=8, le=1024, multiple_of=8)
    embedding: int = Field(32, ge=2, le=1024)
    native: bool = True

    maps: tuple[Literal["derivative", "gradient", "cam"], ...] = Field(
        ("derivative", "gradient", "cam"), min_length=1, max_length=3
    )
    map_sigmas: Sigmas = (0.2, 0.3, 0.4, 0.5, 0.6)
    seed_blur: Blur = 2.5
    loss: Literal["contrastive", "cross-entropy", "both"] = "both"
    temperature: Temperature = 0.1
    readout: Literal["prototypes", "clusters"] = "prototypes"
    slice_blur: Blur = 1.0
    seed_steps: Steps = 400
    self_rounds: int = Field(1, ge=0, le=20)
    self_steps: Steps = 400

    @model_validator(mode="after")
    def _fits(self) -> CLDFSettings:
        if max(self.levels) >= len(self.widths):
            raise ValueError(f"levels: the network has {len(self.widths)} decoder levels, 0 is the first")
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError("levels must ascend, the coarsest comes first")
        if len(set(self.maps)) != len(self.maps):
            raise ValueError("maps: one is named twice")
        return self


class CLDF(ImageLabelMethod[CLDFSettings]):
    """Frozen diffusion features, a pixel decoder, and prototypes of the classes.

    Args:
        settings: see :class:`CLDFSettings`.
        classes: number of findings.
    """

    settings_type = CLDFSettings
    draws_noise = True
    heeds = (SCRIBBLES, CORRECTIONS)
    frozen = ("diffusion", "classifier", "cam")
    training_only = ("cam",)

    def __init__(self, settings: CLDFSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.schedule = NoiseSchedule()
        self.diffusion = ConditionalUNet(settings.widths, rows=2 * classes + 1)
        self.classifier = NoisyClassifier(settings.classifier_widths, classes)
        self.cam = self.training_part(lambda: resnet18(settings.cam_widths, classes))
        blocks, widths = zip(*(self.diffusion.decoder_levels()[level] for level in settings.levels), strict=True)
        self.taps = FeatureTaps(self.diffusion, blocks)
        channels = [len(settings.sigmas) * width for width in widths]
        self.decoder = PixelDecoder(channels, settings.width, settings.embedding, settings.native, classes)

    def stages(self) -> Sequence[Stage]:
        settings = self.settings
        rounds = [f"self-training {number + 1}" for number in range(settings.self_rounds)]
        return [
            Stage(SEEDS, self.decoder, steps=settings.seed_steps, rate=1e-3, batch=16, makes_labels=True),
            *(
                Stage(name, self.decoder, settings.self_steps, rate=1e-3, batch=16, makes_labels=True)
                for name in rounds
            ),
        ]

    def pixel_labels(self, stage: Stage, data: LabelledSlices, pass_: Pass) -> Tensor:
        """The region of each scan for which most speaks: at first heat maps, later the method's own predictions."""
        speaks = self._heat(data, pass_) if stage.name == SEEDS else self._own(data, pass_)
        made = torch.zeros(speaks.shape, dtype=torch.uint8)
        for case in range(len(data.cases)):
            rows = data.case == case
            made[rows] = seeds_of_regions(data.images_at(rows), data.targets.presence[rows], speaks[rows])
        return first_said(data.with_implied().targets.pixels, merge_classes(made, data.targets.presence))

    def _heat(self, data: LabelledSlices, pass_: Pass) -> Tensor:
        """The sum of all heat maps (slices, classes, size, size), each in its own standard deviations."""
        small, kinds, found = self._small(data.images.float()), self.settings.maps, self._nothing(data)
        for k in range(self.classes):
            slices = torch.nonzero(data.targets.presence[:, k] == YES)[:, 0]
            for index, kind in enumerate(kinds):
                part = pass_.step(k * len(kinds) + index, self.classes * len(kinds))
                plane = blur(self.raw_map(kind, small, slices, k, part), self.settings.seed_blur, 0.0)
                plane = plane / plane.std().clamp(min=1e-6)
                wide = functional.interpolate(plane[:, None], found.shape[2:], mode="bilinear", align_corners=False)
                found[slices, k] += wide[:, 0]
        return found

    def _own(self, data: LabelledSlices, pass_: Pass) -> Tensor:
        """Logits of the method's own probabilities (slices, classes, size, size)."""
        slices = torch.nonzero((data.targets.presence == YES).any(dim=1))[:, 0]
        found = self._nothing(data)
        probability = self.locate(data.images, slices, data.targets.presence[slices] != NO, pass_)
        found[slices] = torch.logit(probability, eps=SURE)
        return found

    def _nothing(self, data: LabelledSlices) -> Tensor:
        return torch.zeros(len(data.images), self.classes, *data.images.shape[2:])

    def raw_map(self, kind: str, small: Tensor, slices: Tensor, k: int, pass_: Pass) -> Tensor:
        """One heat map of class ``k`` from the frozen networks alone, (len(slices), diffusion_size, diffusion_size)."""
        device = self.decoder.prototypes.device
        if kind == "cam":
            return gradcam_map(self.cam, self.settings.cam_layer, small[slices].to(device), k, pass_.progress)

        def derivative(noisy: Tensor, step: int) -> Tensor:
            noisy = noisy.to(device)
            absent, present = self.diffusion.row(2 * k, noisy), self.diffusion.row(2 * k + 1, noisy)
            return difference(Contrast(self.diffusion, self.schedule, present, absent), noisy, step, tau=0.0)

        def gradient(noisy: Tensor, step: int) -> Tensor:
            return class_gradient(self.classifier, noisy.to(device), step, k)

        map_of = {"derivative": derivative, "gradient": gradient}[kind]
        return over_noise(
            map_of,
            small,
            slices,
            self.schedule,
            sigmas=self.settings.map_sigmas,
            draws=1,
            classes=1,
            seed=pass_.seed,
            chunk=pass_.chunk,
            progress=pass_.progress,
        )[:, 0]

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        noise = batch.noise[:, :, : self.settings.diffusion_size, : self.settings.diffusion_size]
        embedded = self.decoder(self.features(batch.images, noise), batch.images)
        target, known = batch.targets.known_pixels()
        contrastive = stage.name == SEEDS and self.settings.loss != "cross-entropy"
        alone = contrastive and self.settings.loss == "contrastive"
        logits = self.decoder.scores(embedded.detach() if alone else embedded) / self.settings.temperature
        found = {"cross-entropy": pixel_cross_entropy(logits, target, known, balanced=stage.name == SEEDS)}
        if contrastive:
            vectors, classes = sample_pixels(embedded, batch.targets.pixels.long(), 64, batch.uniform[:, 3])
            found["contrast"] = contrast_loss(vectors, classes, self.settings.temperature)
        if stage.name != SEEDS:
            found["overlap"] = overlap_loss(logits, target, known)
        return found

    def score(self, held: LabelledSlices, chunk: int) -> float:
        """Area under the ROC curve of how much of a slice is marked, were every slice to show every class.

        The classifier is frozen, so what it says of presence would tell nothing
        of the decoder; and only people's labels are compared with, no seeds.
        """
        device, marked = self.decoder.prototypes.device, []
        for case in range(len(held.cases)):
            images = held.images_at(held.case == case).to(device)
            everywhere = torch.ones(len(images), self.classes, dtype=torch.bool)
            maps = self.locate(images, torch.arange(len(images)), everywhere, Pass(chunk))
            marked.append(maps.flatten(2).mean(dim=2))
        return presence_auc(held.targets.presence, torch.cat(marked))

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        """The decoder's answer, averaged with the region of the scan that fits it best where the two agree.

        Where they do not, a region is believed of a class of which every slice is told, and else the decoder.
        """
        found = super().predict(images, prompt, pass_)
        shown = (found.presence > self.settings.presence_threshold).cpu()
        own = over_neighbours(found.probabilities, shown, self.settings.slice_blur)
        region = by_regions(images.cpu(), torch.where(shown, YES, NO), torch.logit(own, eps=SURE), own)
        believed = torch.where(prompt.told(self.classes)[None, :, None, None], region, own)
        return Prediction(averaged(region, own, believed), found.presence, found.negative)

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        """The noise-conditioned classifier's, at t = 0."""
        levels = self.classifier.encode(self._small(images[slices]), torch.zeros_like(slices))
        return levels[len(levels) // 2], levels[-1]

    def presence_probability(self, images: Tensor, chunk: int) -> Tensor:
        """From the noise-conditioned classifier at t = 0."""
        small = self._small(images)
        return mirrored_presence(lambda part: self.classifier(part, part.new_zeros(len(part)).long()), small, chunk)

    def locate(self, images: Tensor, slices: Tensor, shown: Tensor, pass_: Pass) -> Tensor:
        found, device = [], self.decoder.prototypes.device
        one = torch.zeros(len(images), 1, self.settings.diffusion_size, self.settings.diffusion_size)
        for part in torch.arange(len(slices)).split(pass_.chunk):
            seen = images[slices[part]].to(device).float()
            noise = slice_noise(one, slices[part], pass_.seed, 0, 0).to(device)
            found.append(self._read(self.decoder(self.features(seen, noise), seen), shown[part]).cpu())
            pass_.progress((int(part[-1]) + 1) / len(slices))
        return torch.cat(found)[:, 1:]

    def features(self, images: Tensor, noise: Tensor) -> list[Tensor]:
        """Activations per level, those of all noise levels side by side, in one batch of the frozen network.

        Args:
            images: (batch, 1, size, size).
            noise: (batch, 1, diffusion_size, diffusion_size).
        """
        condition = self.diffusion.rows(torch.arange(1, 2 * self.classes, 2, device=images.device)).mean(dim=0)[None]
        return noised_features(self.taps, self.schedule, self.settings.sigmas, self._small(images), noise, condition)

    def _small(self, images: Tensor) -> Tensor:
        return smaller(images, self.settings.diffusion_size)

    def _read(self, embedded: Tensor, shown: Tensor) -> Tensor:
        """Probabilities (batch, 1 + classes, size, size) of embedded pixels; 0 for classes a slice does not show."""
        if self.settings.readout == "clusters":
            embedded = torch.stack([_cluster_means(one, self.decoder.prototypes) for one in embedded])
        logits = self.decoder.scores(embedded) / self.settings.temperature
        absent = functional.pad(~shown, (1, 0)).to(logits.device)  # background is never absent
        return torch.softmax(logits.masked_fill(absent[:, :, None, None], float("-inf")), dim=1)


def _cluster_means(embedded: Tensor, prototypes: Tensor) -> Tensor:
    """Every pixel's vector (length, rows, columns) replaced by the mean of its cluster: ten rounds of k-means.

    Clusters start at the prototypes, one each; an empty one stays where it is.
    """
    vectors, means = embedded.flatten(1).T, functional.normalize(prototypes.detach().float(), dim=1)
    for _ in range(10):
        which = (vectors @ means.T).argmax(dim=1)
        sums = torch.zeros_like(means).index_add_(0, which, vectors)
        counts = which.bincount(minlength=len(means))[:, None]
        means = torch.where(counts > 0, functional.normalize(sums, dim=1), means)
    return means[which].T.reshape(embedded.shape)
