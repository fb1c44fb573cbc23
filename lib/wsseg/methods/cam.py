"""CAM: the peer every table compares with, a classifier and where it looks (Grad-CAM++)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from wsseg.data.slices import Batch
from wsseg.losses.presence import presence_loss
from wsseg.methods.base import Progress, Settings, Stage, part_of
from wsseg.methods.shared.gradcam import gradcam_map
from wsseg.methods.shared.heat import blur, calibrate, evidence
from wsseg.methods.shared.presence import ImageLabelMethod, mirrored_presence
from wsseg.networks.resnet import resnet18


class CAMSettings(Settings):
    """Settings of the CAM baseline.

    Attributes:
        widths: channels of ResNet-18's four levels.
        layer: whose activations are weighted; its grid is the map's resolution.
        blur: Gaussian smoothing of the map in pixels, in plane and over slices.
        hyperintense: findings are brighter than normal tissue; weight the map
            by how much brighter.
        threshold: "otsu" per slice, or a calibrated value of the map in [0, 1].
        presence_threshold: probability above which a slice shows the finding.
    """

    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    layer: Literal["layer1", "layer2", "layer3", "layer4"] = "layer3"
    blur: tuple[float, float] = (1.0, 0.0)
    hyperintense: bool = False
    threshold: Annotated[float, Field(gt=0)] | Literal["otsu"] = "otsu"
    presence_threshold: float = Field(0.5, gt=0, lt=1)


class CAM(ImageLabelMethod):
    """ResNet-18 with group normalisation, and its Grad-CAM++ map."""

    settings_type = CAMSettings

    def __init__(self, settings: CAMSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.settings = settings
        self.classes = classes
        self.classifier = resnet18(settings.widths, classes)

    def stages(self) -> Sequence[Stage]:
        return (Stage("classifier", self.classifier, steps=1000, rate=5e-4, batch=32),)

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        return {"presence": presence_loss(self.classifier(batch.images), batch.presence)}

    def presence_probability(self, images: Tensor, chunk: int) -> Tensor:
        return mirrored_presence(self.classifier, images, chunk)

    def locate(
        self, images: Tensor, slices: Tensor, shown: Tensor, seed: int, chunk: int, progress: Progress
    ) -> Tensor:
        settings, seen, heat = self.settings, images[slices], []
        for k in range(self.classes):
            told = part_of(progress, k, self.classes)
            heat.append(blur(gradcam_map(self.classifier, settings.layer, seen, k, told), *settings.blur))
        return calibrate(evidence(torch.stack(heat, dim=1), seen, settings.hyperintense), settings.threshold)
