"""What methods that learn from image-level labels share: a classifier says which slices show a class, a map where."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from wsseg.data.augment import Variety, negative
from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.slices import LabelledSlices
from wsseg.methods.base import Method, Prediction, Settings
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.agreement import presence_auc

RECOLOURED = 0.4
"""Part of the samples whose contrast is another: else a finding that is bright in training is known by that alone."""


CLEARLY = 0.02
"""By how much a slice's logarithm has to be likelier in the negative: a scan's own contrast is the usual one."""

ODD = (0.001, 0.2)
"""p-values between which a scan may be one in another contrast: hardly like the training scans, yet no other organ."""

LEAST = 1e-4
"""Probability that a surprise counts as, so that one slice does not decide for a whole scan."""


class ImageLabelSettings(Settings):
    """What the settings of all such methods hold.

    Attributes:
        presence_threshold: probability above which a slice shows the finding.
    """

    presence_threshold: float = Field(0.5, gt=0, lt=1)


class InContrast(NamedTuple):
    """Slices in a contrast that a model knows.

    Attributes:
        images: (slices, 1, size, size).
        presence: (slices, classes), probability that each shows a class, on the CPU.
        negative: whether they are the negative of what was given.
    """

    images: Tensor
    presence: Tensor
    negative: bool


ImageLabelSettingsType = TypeVar("ImageLabelSettingsType", bound=ImageLabelSettings)


class ImageLabelMethod(Method[ImageLabelSettingsType]):
    """A method learned from "this slice shows it: yes / no"."""

    learns_from = (PRESENCE,)
    variety = Variety(recoloured=RECOLOURED)

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        seen = self.in_known_contrast(images, prompt, pass_.chunk)
        decided = prompt.decide(seen.presence)
        shown = decided > self.settings.presence_threshold
        slices = torch.nonzero(shown.any(dim=1))[:, 0]
        probabilities = torch.zeros(len(images), self.classes, *images.shape[2:])
        if len(slices):
            probabilities[slices] = self.locate(seen.images, slices, shown[slices], pass_)
        return Prediction(probabilities * shown[:, :, None, None], decided, seen.negative)

    def in_known_contrast(self, images: Tensor, prompt: Prompt, chunk: int) -> InContrast:
        """The slices themselves or their negative, and the presence that is estimated on them.

        Other sequences show the same finding dark. So an odd scan is looked at in its negative too, and
        that is taken if the model clearly better tells on it what is known of every slice. Where less is known,
        if it is clearly surer of it, unless the scan is of another kind altogether, on which how sure it is
        tells nothing. A scan that fits is taken as it is: words on it may be wrong.
        """
        as_is = InContrast(images, self.presence_probability(images, chunk), negative=False)
        least, most = ODD
        told = prompt.tells_apart
        if prompt.fits >= most or (prompt.fits < least and not told):
            return as_is
        turned = negative(images)
        as_turned = InContrast(turned, self.presence_probability(turned, chunk), negative=True)
        known = prompt if told else Prompt()
        clearly = _likelihood(as_turned.presence, known) > _likelihood(as_is.presence, known) + CLEARLY
        return as_turned if clearly else as_is

    def score(self, held: LabelledSlices, chunk: int) -> float:
        """Area under the ROC curve of presence per slice, mean over the classes of which both states are known."""
        device = next(self.parameters()).device
        cases = [held.images_at(held.case == case).to(device) for case in range(len(held.cases))]
        said = torch.cat([self.presence_probability(images, chunk) for images in cases])
        return presence_auc(held.targets.presence, said)

    @abstractmethod
    def presence_probability(self, images: Tensor, chunk: int) -> Tensor:
        """Probability that slices show a class, (slices, classes) on the CPU."""

    @abstractmethod
    def locate(self, images: Tensor, slices: Tensor, shown: Tensor, pass_: Pass) -> Tensor:
        """Where the classes are in some slices.

        Args:
            slices: indices into ``images``; those that show a class.
            shown: (len(slices), classes) bool, which classes they show.

        Returns:
            (len(slices), classes, size, size) in [0, 1], 0.5 on the border of a finding, on the CPU.
        """


def _likelihood(estimated: Tensor, prompt: Prompt) -> float:
    """Mean logarithm of the probability of presence as it is known, or else of what is likeliest."""
    said = torch.where(prompt.decide(estimated).round() == 1, estimated, 1 - estimated)
    return float(said.clamp(min=LEAST).log().mean())


def smooth_over_slices(logits: Tensor) -> Tensor:
    """Weights 1 2 1 over neighbouring slices of (slices, classes), ends repeated.

    A finding spans neighbours: what one slice leaves open the next ones decide.
    """
    logits = logits.float().cpu()
    padded = functional.pad(logits.T[None], (1, 1), mode="replicate")[0].T
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def mirrored_presence(classifier: Callable[[Tensor], Tensor], images: Tensor, chunk: int) -> Tensor:
    """Presence probability (slices, classes), from each slice, its mirror image and its neighbours.

    Args:
        classifier: slices (n, 1, size, size) to logits (n, classes).
        images: (slices, 1, size, size), neighbours in order.
        chunk: slices at a time.
    """
    logits = [(classifier(part) + classifier(part.flip(2))) / 2 for part in images.split(chunk)]
    return torch.sigmoid(smooth_over_slices(torch.cat(logits)))


def smaller(images: Tensor, side: int) -> Tensor:
    """Slices as a network sees them that is made for so many pixels along a side; smaller ones as they are."""
    if images.shape[-1] <= side:
        return images
    return functional.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
