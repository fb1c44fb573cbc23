"""CAM: the peer every table compares with, a classifier and where it looks (Grad-CAM++)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wsseg.data.slices import Batch
from wsseg.losses.presence import presence_loss
from wsseg.methods.base import Blur, Side, Stage, Threshold, Width
from wsseg.methods.prompt import Pass
from wsseg.methods.shared.gradcam import gradcam_map
from wsseg.methods.shared.heat import blur, located
from wsseg.methods.shared.presence import ImageLabelMethod, ImageLabelSettings, mirrored_presence, smaller
from wsseg.networks.classifier import encode, resnet18


class CAMSettings(ImageLabelSettings):
    """Settings of the CAM baseline.

    Attributes:
        widths: channels of ResNet-18's four levels.
        layer: whose activations are weighted; its grid is the map's resolution.
        classifier_size: side in pixels of what the classifier sees.
        blur: Gaussian smoothing of the map in its pixels, in plane and over slices.
        regions, threshold: see :func:`wsseg.methods.shared.heat.located`.
    """

    widths: tuple[Width, Width, Width, Width] = (32, 64, 128, 256)
    layer: Literal["layer1", "layer2", "layer3", "layer4"] = "layer3"
    classifier_size: Side = 64
    blur: tuple[Blur, Blur] = (1.0, 0.0)
    regions: bool = True
    threshold: Threshold | Literal["otsu"] = "otsu"


class CAM(ImageLabelMethod[CAMSettings]):
    """ResNet-18 with group normalisation, and its Grad-CAM++ map."""

    settings_type = CAMSettings

    def __init__(self, settings: CAMSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.classifier = resnet18(settings.widths, classes)

    def stages(self) -> Sequence[Stage]:
        return (Stage("classifier", self.classifier, steps=1000, rate=5e-4, batch=32),)

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        seen = smaller(batch.images, self.settings.classifier_size)
        return {"presence": presence_loss(self.classifier(seen), batch.targets.presence)}

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        levels = encode(self.classifier, smaller(images[slices], self.settings.classifier_size))
        return levels[1], levels[3]

    def presence_probability(self, images: Tensor, chunk: int) -> Tensor:
        return mirrored_presence(self.classifier, smaller(images, self.settings.classifier_size), chunk)

    def locate(self, images: Tensor, slices: Tensor, shown: Tensor, pass_: Pass) -> Tensor:
        settings, heat = self.settings, []
        seen = smaller(images[slices], settings.classifier_size)
        for k in range(self.classes):
            heat_map = gradcam_map(self.classifier, settings.layer, seen, k, pass_.step(k, self.classes).progress)
            heat.append(blur(heat_map, *settings.blur))
        return located(images, slices, shown, torch.stack(heat, dim=1), settings.threshold, settings.regions)
