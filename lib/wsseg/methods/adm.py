"""The published diffusion model of natural images (ADM) as a backbone; it is imported and never trained here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from wsseg.data.slices import Batch
from wsseg.diffusion.adm import ADM, WIDTH
from wsseg.errors import WssegError
from wsseg.methods.base import SEGMENTS_NOTHING, Method, Prediction, Settings, Stage
from wsseg.methods.prompt import Pass, Prompt

AdmWidth = Annotated[int, Field(ge=32, le=1024, multiple_of=32)]
"""Channels of the finest level."""


class PublishedADMSettings(Settings):
    """Settings of the published diffusion model.

    Attributes:
        width: channels of its finest level.
    """

    width: AdmWidth = WIDTH


class PublishedADM(Method[PublishedADMSettings]):
    """The frozen denoiser of colour pictures.

    Args:
        settings: see :class:`PublishedADMSettings`.
        classes: of no account.
    """

    settings_type = PublishedADMSettings
    learns_from = ()

    def __init__(self, settings: PublishedADMSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.diffusion = ADM(settings.width)

    def stages(self) -> Sequence[Stage]:
        """Refused.

        Raises:
            WssegError: always.
        """
        raise WssegError("this backbone was trained elsewhere; train a model that is built on it")

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        """Nothing is learned."""
        return {}

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        """Refused, as :meth:`predict`."""
        raise WssegError(SEGMENTS_NOTHING)

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        """Refused.

        Raises:
            WssegError: always.
        """
        raise WssegError(SEGMENTS_NOTHING)
