"""CDM (Hu et al. 2023, arXiv 2306.03878): masks as the derivative by the condition.

A diffusion model learns slices under "present" and "absent". Asked to denoise
the same slice under both, it differs where the finding is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from wsseg.data.slices import Batch
from wsseg.diffusion import derivative
from wsseg.diffusion.noise import over_noise
from wsseg.diffusion.schedule import NoiseSchedule
from wsseg.losses.presence import presence_loss
from wsseg.methods.base import Blur, Count, Side, Sigma, Sigmas, Stage, Threshold, Weight, Widths
from wsseg.methods.prompt import Pass
from wsseg.methods.shared.heat import blur, located
from wsseg.methods.shared.presence import ImageLabelMethod, ImageLabelSettings, mirrored_presence, smaller
from wsseg.networks.classifier import NoisyClassifier
from wsseg.networks.unet import ConditionalUNet


class CDMSettings(ImageLabelSettings):
    """Settings of CDM; those of training come first.

    Attributes:
        diffusion_size: side in pixels of what the two networks see.
        widths, classifier_widths: channels per level of them.
        sigma_range: noise levels trained on.
        condition_dropout: part of the training slices shown without a label.
        sigmas: noise levels of the derivative, each in (0, 1), summed.
        draws: noise draws per level, averaged.
        tau: mixing of the second condition, 0.95 in the paper, 0 is plain
            present minus absent; "exact" takes the limit tau to 1.
        trajectory: 0 for one step in x_0, else the paper's sum over so many
            DDIM steps (10 there).
        guidance: classifier guidance scale of CG-CDM; needs a trajectory.
        blur: Gaussian smoothing of the map in its pixels, in plane and over slices.
        regions, threshold: see :func:`wsseg.methods.shared.heat.located`.
    """

    diffusion_size: Side = 64
    widths: Widths = (32, 64, 128, 128)
    classifier_widths: Widths = (24, 48, 96, 128, 128)
    sigma_range: tuple[Sigma, Sigma] = (0.15, 0.98)
    condition_dropout: float = Field(0.0, ge=0, lt=1)

    sigmas: Sigmas = (0.5, 0.6, 0.7, 0.8, 0.9)
    draws: Count = 2
    tau: Annotated[float, Field(ge=0, lt=1)] | Literal["exact"] = 0.0
    trajectory: int = Field(0, ge=0, le=50)
    guidance: Weight = 0.0
    blur: tuple[Blur, Blur] = (1.0, 0.0)
    regions: bool = True
    threshold: Threshold | Literal["otsu"] = "otsu"

    @model_validator(mode="after")
    def _fits(self) -> CDMSettings:
        if self.guidance and not self.trajectory:
            raise ValueError("guidance needs a trajectory")
        if self.trajectory and self.tau == "exact":
            raise ValueError("a trajectory has no exact derivative, set tau to a number")
        return self


class CDM(ImageLabelMethod[CDMSettings]):
    """A conditional diffusion model and a noise-conditioned classifier.

    Args:
        settings: see :class:`CDMSettings`.
        classes: number of findings; each has an "absent" and a "present" row.
    """

    settings_type = CDMSettings
    draws_noise = True

    def __init__(self, settings: CDMSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.schedule = NoiseSchedule()
        self.classifier = NoisyClassifier(settings.classifier_widths, classes)
        self.diffusion = ConditionalUNet(settings.widths, rows=2 * classes + 1)

    def stages(self) -> Sequence[Stage]:
        return (
            Stage("classifier", self.classifier, steps=1000, rate=5e-4, batch=32),
            Stage("diffusion", self.diffusion, steps=5500, rate=3e-4, batch=16),
        )

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        side = self.settings.diffusion_size
        batch = replace(batch, images=smaller(batch.images, side), noise=batch.noise[..., :side, :side])
        if stage.name == "classifier":
            return {"presence": self._classifier_loss(batch)}
        return {"velocity": self._diffusion_loss(batch)}

    def _classifier_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy on slices of which half are clean and half noised."""
        low, high = self.settings.sigma_range
        steps = self.schedule.timesteps_between(low, high, batch.uniform[:, 0])
        steps = torch.where(batch.uniform[:, 1] < 0.5, torch.zeros_like(steps), steps)
        noisy = self.schedule.add_noise(batch.images, batch.noise, steps)
        return presence_loss(self.classifier(noisy, steps), batch.targets.presence)

    def _diffusion_loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the velocity under each slice's own label."""
        low, high = self.settings.sigma_range
        steps = self.schedule.timesteps_between(low, high, batch.uniform[:, 0])
        noisy = self.schedule.add_noise(batch.images, batch.noise, steps)
        condition = self.diffusion.rows(self._training_rows(batch))
        velocity = self.diffusion(noisy, steps, condition)
        return functional.mse_loss(velocity.float(), self.schedule.velocity(batch.images, batch.noise, steps))

    def _training_rows(self, batch: Batch) -> Tensor:
        """One table row per sample: a known class and its state, or none (dropout)."""
        known = batch.targets.presence >= 0
        weight = known.float() + 1e-6 * (~known)
        edges = (weight / weight.sum(dim=1, keepdim=True)).cumsum(dim=1)
        chosen = (edges < batch.uniform[:, 1:2]).sum(dim=1).clamp(max=self.classes - 1)
        state = batch.targets.presence.gather(1, chosen[:, None].long())[:, 0].long()
        unlabelled = (state < 0) | (batch.uniform[:, 2] < self.settings.condition_dropout)
        return torch.where(unlabelled, 2 * self.classes, 2 * chosen + state.clamp(min=0))

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        """The classifier's, at t = 0."""
        levels = self.classifier.encode(smaller(images[slices], self.settings.diffusion_size), torch.zeros_like(slices))
        return levels[len(levels) // 2], levels[-1]

    def presence_probability(self, images: Tensor, chunk: int) -> Tensor:
        """p(y | x_0, t = 0) of slices, (slices, classes)."""
        small = smaller(images, self.settings.diffusion_size)
        return mirrored_presence(lambda part: self.classifier(part, part.new_zeros(len(part)).long()), small, chunk)

    def locate(self, images: Tensor, slices: Tensor, shown: Tensor, pass_: Pass) -> Tensor:
        maps = self.derivative_map(images, slices, pass_)
        return located(images, slices, shown, maps, self.settings.threshold, self.settings.regions)

    def derivative_map(self, images: Tensor, slices: Tensor, pass_: Pass) -> Tensor:
        """The condition derivative of some slices, (slices, classes, diffusion_size, diffusion_size), smoothed."""
        settings = self.settings
        total = over_noise(
            self._derivatives,
            smaller(images, settings.diffusion_size),
            slices,
            self.schedule,
            sigmas=settings.sigmas,
            draws=settings.draws,
            classes=self.classes,
            seed=pass_.seed,
            chunk=pass_.chunk,
            progress=pass_.progress,
        )
        return torch.stack([blur(total[:, k], *settings.blur) for k in range(self.classes)], dim=1)

    def _derivatives(self, noisy: Tensor, step: int) -> Tensor:
        return torch.cat([self._derivative(noisy, step, k) for k in range(self.classes)], dim=1)

    def _derivative(self, noisy: Tensor, step: int, k: int) -> Tensor:
        settings = self.settings
        absent, present = self.diffusion.row(2 * k, noisy), self.diffusion.row(2 * k + 1, noisy)
        asked = derivative.Contrast(self.diffusion, self.schedule, present, absent)
        if settings.tau == "exact":
            return derivative.exact(asked, noisy, step)
        if settings.trajectory == 0:
            return derivative.difference(asked, noisy, step, settings.tau)
        guide = self._log_probability(k) if settings.guidance else None
        return derivative.trajectory(asked, noisy, step, settings.tau, settings.trajectory, guide, settings.guidance)

    def _log_probability(self, k: int) -> derivative.LogProbability:
        def log_probability(noisy: Tensor, steps: Tensor, state: Tensor) -> Tensor:
            logits = self.classifier(noisy, steps)[:, k].float()
            return functional.logsigmoid(torch.where(state == 1, logits, -logits))

        return log_probability
