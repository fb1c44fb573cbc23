"""What the union learner starts from: its network, taught several tasks at once by weak labels.

`benchmarks/methods/start.py` trains it.
"""

from __future__ import annotations

from wsseg.data.augment import PLACES
from wsseg.methods.backbones.backbone import Backbone
from wsseg.methods.base import Count, Settings, Widths
from wsseg.networks.residual_unet import ResidualUNet


class StartSettings(Settings):
    """Settings of the network, as of the union learner.

    Attributes:
        widths: channels of its levels.
        channels: of an image.
        neighbours: slices on either side that are seen with each.
    """

    widths: Widths = (24, 48, 96, 160, 192)
    channels: Count = 1
    neighbours: Count = 1


class Start(Backbone[StartSettings]):
    """A residual U-Net, of whose answer only the shape is of account.

    Args:
        settings: see :class:`StartSettings`.
        classes: of no account.
    """

    settings_type = StartSettings

    def __init__(self, settings: StartSettings, classes: int) -> None:
        super().__init__(settings, classes)
        seen = settings.channels * (1 + 2 * settings.neighbours)
        self.network = ResidualUNet(seen + PLACES, classes + 1, settings.widths)
