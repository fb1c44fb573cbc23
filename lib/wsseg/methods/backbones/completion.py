"""What completes strokes, points and boxes to masks: :mod:`wsseg.methods.shared.labelling.completion` tells how.

`benchmarks/completion/train.py` trains it.
"""

from __future__ import annotations

from wsseg.methods.backbones.backbone import Backbone
from wsseg.methods.base import Settings
from wsseg.methods.shared.labelling.completion import completion_network


class CompletionSettings(Settings):
    """There are none."""


class Completion(Backbone[CompletionSettings]):
    """The network.

    Args:
        settings: see :class:`CompletionSettings`.
        classes: of no account.
    """

    settings_type = CompletionSettings

    def __init__(self, settings: CompletionSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.network = completion_network()
