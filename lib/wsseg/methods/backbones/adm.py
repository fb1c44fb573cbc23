"""The published diffusion model of natural images (ADM) as a backbone; it is imported and never trained here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wsseg.diffusion.adm import ADM, WIDTH
from wsseg.methods.backbones.backbone import Backbone
from wsseg.methods.base import Settings

AdmWidth = Annotated[int, Field(ge=32, le=1024, multiple_of=32)]
"""Channels of the finest level."""


class PublishedADMSettings(Settings):
    """Settings of the published diffusion model.

    Attributes:
        width: channels of its finest level.
    """

    width: AdmWidth = WIDTH


class PublishedADM(Backbone[PublishedADMSettings]):
    """The frozen denoiser of colour pictures.

    Args:
        settings: see :class:`PublishedADMSettings`.
        classes: of no account.
    """

    settings_type = PublishedADMSettings

    def __init__(self, settings: PublishedADMSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.diffusion = ADM(settings.width)
