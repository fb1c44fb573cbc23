"""CAM: the peer every table compares with, a classifier and where it looks.

Grad-CAM++ (Chattopadhyay et al. 2018, arXiv 1710.11063) through MONAI.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated, Literal, cast

import torch
from monai.networks.nets.resnet import ResNet, ResNetBlock
from monai.visualize import GradCAMpp
from pydantic import Field
from torch import Tensor

from wsseg.data.slices import Batch
from wsseg.losses.presence import presence_loss
from wsseg.methods.base import Method, Prediction, Progress, Settings, Stage
from wsseg.methods.heat import blur, calibrate, decide_presence, evidence, mirrored_presence


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


class CAM(Method):
    """ResNet-18 with group normalisation, and its Grad-CAM++ map."""

    settings_type = CAMSettings

    def __init__(self, settings: CAMSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.settings = settings
        self.classes = classes
        self.classifier = ResNet(
            ResNetBlock,
            layers=[2, 2, 2, 2],
            block_inplanes=list(settings.widths),
            spatial_dims=2,
            n_input_channels=1,
            conv1_t_size=3,
            conv1_t_stride=1,
            num_classes=classes,
            norm=("group", {"num_groups": 8}),
        )

    def stages(self) -> Sequence[Stage]:
        return (Stage("classifier", self.classifier, steps=1000, rate=5e-4, batch=32),)

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        return {"presence": presence_loss(self.classifier(batch.images), batch.presence)}

    def predict(self, images: Tensor, presence: Tensor | None, seed: int, chunk: int, progress: Progress) -> Prediction:
        decided = decide_presence(mirrored_presence(self.classifier, images, chunk), presence)
        shown = decided > self.settings.presence_threshold
        slices = torch.nonzero(shown.any(dim=1))[:, 0]
        probabilities = torch.zeros(len(images), self.classes, *images.shape[2:])
        if len(slices):
            maps = torch.stack([self._maps(images[slices], k, progress) for k in range(self.classes)], dim=1)
            heat = evidence(maps, images[slices], self.settings.hyperintense)
            probabilities[slices] = calibrate(heat, self.settings.threshold)
        return Prediction(probabilities * shown[:, :, None, None], decided)

    def _maps(self, images: Tensor, k: int, progress: Progress) -> Tensor:
        """Grad-CAM++ of one class, each slice scaled to [0, 1], smoothed.

        One slice at a time: MONAI multiplies the scores of a batch along the
        wrong axis. On a copy: its hooks stay on the network it is given.
        """
        maps = []
        with torch.enable_grad():
            network = deepcopy(self.classifier).requires_grad_(True)
            cam = GradCAMpp(network, self.settings.layer, postprocessing=_scale)
            for index in range(len(images)):
                maps.append(cast(Tensor, cam(images[index : index + 1], class_idx=k))[0, 0].detach().float().cpu())
                progress((k + (index + 1) / len(images)) / self.classes)
        return blur(torch.stack(maps), *self.settings.blur)


def _scale(maps: Tensor) -> Tensor:
    """Each slice to [0, 1], bright where the evidence is (MONAI's default is dark there)."""
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-8)
