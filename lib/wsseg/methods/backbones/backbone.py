"""What methods are built on: networks that segment nothing themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from wsseg.data.slices import Batch, LabelledSlices
from wsseg.errors import WssegError
from wsseg.methods.base import Method, Prediction, SettingsType, Stage
from wsseg.methods.prompt import Pass, Prompt

_REFUSED = "this model is a backbone, it segments nothing; use a model that is built on it"


class Backbone(Method[SettingsType]):
    """Refuses to segment, and unless it is said how, to be trained; arguments as for every method."""

    learns_from = ()

    def stages(self) -> Sequence[Stage]:
        """Refused.

        Raises:
            WssegError: always.
        """
        raise WssegError("this backbone was trained elsewhere; train a model that is built on it")

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        """Nothing is learned."""
        return {}

    def score(self, held: LabelledSlices, chunk: int) -> float:
        """Cannot be told: there is no mask to compare."""
        return math.nan

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        """Refused, as :meth:`predict`."""
        raise WssegError(_REFUSED)

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        """Refused.

        Raises:
            WssegError: always.
        """
        raise WssegError(_REFUSED)
