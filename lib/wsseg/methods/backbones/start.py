"""What the union learner starts from: its network, taught several tasks at once by weak labels.

`benchmarks/methods/start.py` trains it.
"""

from __future__ import annotations

from wsseg.data.augment import PLACES
from wsseg.methods.backbones.backbone import Backbone
from wsseg.methods.base import Settings, Widths
from wsseg.networks.residual_unet import ResidualUNet

SLICES = 3
"""Of one channel each: a slice and those beside it."""


class StartSettings(Settings):
    """Settings of the network, as of the union learner.

    Attributes:
        widths: channels of its levels.
    """

    widths: Widths = (24, 48, 96, 160, 192)


class Start(Backbone[StartSettings]):
    """A residual U-Net, of whose answer only the shape is of account.

    Args:
        settings: see :class:`StartSettings`.
        classes: of no account.
    """

    settings_type = StartSettings

    def __init__(self, settings: StartSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.network = ResidualUNet(SLICES + PLACES, classes + 1, settings.widths)
