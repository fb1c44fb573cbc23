"""Unconditional diffusion (Ho et al. 2020): a backbone whose features other methods read; it segments nothing itself.

It learns to denoise pictures that carry no label at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from wsseg.data.augment import stained_tissue
from wsseg.data.slices import Batch
from wsseg.diffusion.schedule import NoiseSchedule
from wsseg.methods.backbones.backbone import Backbone
from wsseg.methods.base import Count, Rate, Settings, Side, Sigma, Stage, Steps, Widths
from wsseg.networks.unet import DenoisingUNet


class DDPMSettings(Settings):
    """Settings of the diffusion backbone.

    Attributes:
        widths: channels per level, finest first.
        shrink: pixels of the picture, along a side, to one of the network.
        crop: side of the squares it learns from, in pixels of the picture.
        sigma_range: noise levels that are learned.
        steps: of training.
        rate: AdamW's.
        batch: squares a step.
    """

    widths: Widths = (32, 64, 128, 128)
    shrink: Count = 2
    crop: Side = 128
    sigma_range: tuple[Sigma, Sigma] = (0.03, 0.95)
    steps: Steps = 2400
    rate: Rate = 4e-4
    batch: Count = 8


class DDPM(Backbone[DDPMSettings]):
    """A denoiser of colour pictures.

    Args:
        settings: see :class:`DDPMSettings`.
        classes: of no account.
    """

    settings_type = DDPMSettings

    def __init__(self, settings: DDPMSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.variety = stained_tissue(settings.crop)
        self.schedule = NoiseSchedule()
        self.diffusion = DenoisingUNet(settings.widths, channels=3)

    def stages(self) -> Sequence[Stage]:
        settings = self.settings
        return [Stage("diffusion", self.diffusion, settings.steps, settings.rate, settings.batch)]

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error of the velocity."""
        images = functional.avg_pool2d(batch.images, self.settings.shrink)
        low, high = self.settings.sigma_range
        noise = batch.noise[:, :, : images.shape[2], : images.shape[3]]
        steps = self.schedule.timesteps_between(low, high, batch.uniform[:, 0])
        velocity = self.diffusion(self.schedule.add_noise(images, noise, steps), steps)
        return {"diffusion": functional.mse_loss(velocity.float(), self.schedule.velocity(images, noise, steps))}
