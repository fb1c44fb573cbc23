"""TextDiff (arXiv 2407.05323): a sentence guides frozen diffusion features; few masks teach the rest.

A diffusion model that learned from unlabelled pictures is frozen. What its
decoder sees at a few noise levels attends to the words of a sentence and is
classified pixel by pixel. Only attention and classifier are trained, with
masks: CE + 1.5 Dice.

Unlike the published code, unless its arithmetic is asked for: Dice is of
probabilities, not of logits; sentences are not cut after ten tokens; padding
is not attended to; logits are corrected by the picture's own pixels. Colours are in
the order that the diffusion model learned, and masks are not resized.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from wsseg.data.augment import stained_tissue
from wsseg.data.kinds.registry import MASKS, PRESENCE, TEXT
from wsseg.data.slices import Batch
from wsseg.diffusion.features import FeatureTaps, noised_features
from wsseg.diffusion.noise import slice_noise
from wsseg.diffusion.schedule import NoiseSchedule
from wsseg.losses.pixels import pixel_cross_entropy, squared_dice
from wsseg.methods.base import Count, Method, Prediction, Rate, Settings, Side, Sigmas, Stage, Steps, Weight, Widths
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.poses import POSES
from wsseg.methods.shared.windows import in_windows
from wsseg.networks.text import HuggingFaceText, TextEncoder, WordEmbedding
from wsseg.networks.text_head import TextHead
from wsseg.networks.unet import DenoisingUNet

if TYPE_CHECKING:
    from wsseg.diffusion.adm import ADM

PUBLISHED_TOKENS = 10
"""After so many the published code cuts a sentence."""

ADM_LEAST = 32
"""Sides that it can halve as often as it does are multiples of this."""


_Hidden = Annotated[int, Field(ge=8, le=1024, multiple_of=8)]


class TextDiffSettings(Settings):
    """Settings of TextDiff.

    Attributes:
        backbone: method of the package that the frozen diffusion model comes
            from: ours, or "adm", the published one.
        widths: of ours, as its package has them.
        adm_width: channels of the published one's finest level.
        sigmas: noise levels of the features, one frozen pass each; published
            are 0.17, 0.46 and 0.69 (steps 50, 150 and 250).
        shrink: pixels of the picture, along a side, to one of the network.
        crop: side of the squares that are trained on and segmented at a time,
            in pixels of the picture.
        poses: ways to lay a picture down, mirrored and turned, over which the
            prediction is averaged; each has a noise of its own.
        text_model: folder or name of a Hugging Face text model whose files are
            on this machine; empty for word vectors trained with the head.
        text_width: length of those word vectors.
        text_dropout: part of the training samples whose sentence is withheld,
            so that it may be left out later too.
        width, hidden: channels of the head's tokens and of its convolutions.
        arithmetic: "published" takes Dice of the logits, attends to padding,
            cuts a text model's tokens after ten, and corrects no logits.
        dice: weight of Dice beside the cross-entropy.
        steps: of training.
        rate: AdamW's.
        batch: squares a step.
    """

    backbone: Literal["ddpm", "adm"] = "ddpm"
    widths: Widths = (32, 64, 128, 128)
    adm_width: int = Field(256, ge=32, le=1024, multiple_of=32)
    sigmas: Sigmas = (0.1, 0.4)
    shrink: Count = 2
    crop: Side = 256
    poses: int = Field(1, ge=1, le=len(POSES))
    text_model: str = ""
    text_width: int = Field(64, ge=2, le=4096)
    text_dropout: float = Field(0.2, ge=0, le=1)
    width: int = Field(64, ge=32, le=1024, multiple_of=32)
    hidden: tuple[_Hidden, _Hidden] = (64, 32)
    arithmetic: Literal["published", "mended"] = "mended"
    dice: Weight = 1.5
    steps: Steps = 800
    rate: Rate = 1e-3
    batch: Count = 4

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_packages(cls, values: Any) -> Any:
        """Settings up to 0.2 name the file of the published model, in nearly all packages none."""
        if not isinstance(values, dict) or "adm" not in values:
            return values
        kept = {name: value for name, value in values.items() if name != "adm"}
        if values["adm"]:
            raise ValueError(
                "adm names a file, which has to be a package now: `wsseg import adm FILE OUT`, then"
                ' "backbone": "adm" and OUT as parents.diffusion'
            )
        return kept

    @model_validator(mode="after")
    def _square_can_be_halved(self) -> Self:
        least = self.shrink * (ADM_LEAST if self.backbone == "adm" else 2 ** (len(self.widths) - 1))
        if self.crop % least:
            raise ValueError(f"crop must be a multiple of {least}, since the diffusion model halves it")
        return self


class TextDiff(Method[TextDiffSettings]):
    """Frozen diffusion features, a text encoder, and the head that joins them.

    Args:
        settings: see :class:`TextDiffSettings`.
        classes: number of findings.

    Raises:
        WssegError: files of the text model that the settings name are missing.
    """

    settings_type = TextDiffSettings
    draws_noise = True
    learns_from = (MASKS,)
    heeds = (TEXT,)
    prompts = (PRESENCE, TEXT)
    frozen = ("diffusion",)

    def __init__(self, settings: TextDiffSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.variety = stained_tissue(settings.crop)
        published = settings.arithmetic == "published"
        limit = PUBLISHED_TOKENS if published else None
        self.text: TextEncoder = (
            HuggingFaceText(settings.text_model, limit) if settings.text_model else WordEmbedding(settings.text_width)
        )
        self.diffusion: ADM | DenoisingUNet
        if settings.backbone == "adm":
            from wsseg.diffusion.adm import ADM  # loading diffusers takes seconds

            self.diffusion, self.schedule = ADM(settings.adm_width), NoiseSchedule("linear")
        else:
            self.diffusion, self.schedule = DenoisingUNet(settings.widths, channels=3), NoiseSchedule()
        tapped = self.diffusion.decoder_levels()
        self.taps = FeatureTaps(self.diffusion, [block for block, _ in tapped])
        channels = [len(settings.sigmas) * width for _, width in tapped]
        self.head = TextHead(
            channels, settings.width, self.text.width, classes + 1, settings.hidden, sharp=not published
        )

    def stages(self) -> Sequence[Stage]:
        settings = self.settings
        trained = nn.ModuleList([self.text, self.head])
        return [Stage("head", trained, settings.steps, settings.rate, settings.batch)]

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        """CE + 1.5 Dice, of all pixels that lie in the picture."""
        settings = self.settings
        withheld = batch.uniform[:, 0] < settings.text_dropout
        texts = ["" if drop else text for drop, text in zip(withheld.tolist(), batch.targets.texts, strict=True)]
        rows, columns = (length // settings.shrink for length in batch.images.shape[2:])
        logits = self._logits(batch.images, batch.noise[:, :, :rows, :columns], texts).float()
        target, known = batch.targets.known_pixels()
        scores = logits if settings.arithmetic == "published" else torch.softmax(logits, dim=1)
        return {
            "cross-entropy": pixel_cross_entropy(logits, target, known, balanced=False),
            "dice": settings.dice * squared_dice(scores, target, known),
        }

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        """The frozen diffusion model's, of squares from the picture's corners and middle, at the least noise."""
        shrink, side = self.settings.shrink, self.settings.crop // self.settings.shrink
        small = functional.avg_pool2d(images, shrink, ceil_mode=True)[slices]
        rows, columns = (max(0, length - side) for length in small.shape[2:])
        corners = [(0, 0), (0, columns), (rows // 2, columns // 2), (rows, 0), (rows, columns)]
        squares = [small[:, :, top : top + side, left : left + side] for top, left in corners]
        padding = [0, max(0, side - small.shape[3]), 0, max(0, side - small.shape[2])]
        seen = functional.pad(torch.cat(squares), padding, mode="replicate")
        noise = slice_noise(seen.cpu(), torch.zeros(len(seen), dtype=torch.long), 0, 0, 0).to(seen.device)
        levels = noised_features(self.taps, self.schedule, self.settings.sigmas[:1], seen, noise)
        return levels[-1], levels[0]

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        """Windows, blended by Gaussian weights; one noise for all of a pose, as published."""
        side = self.settings.crop // self.settings.shrink
        poses = POSES[: self.settings.poses]
        slot = torch.zeros(1, dtype=torch.long)
        noises = [slice_noise(torch.zeros(1, 3, side, side), slot, pass_.seed, 0, pose) for pose in range(len(poses))]

        def classify(windows: Tensor, pose: int) -> Tensor:
            noise = noises[pose].to(windows.device).expand(len(windows), -1, -1, -1)
            logits = self._logits(windows, noise, [prompt.text] * len(windows))
            return torch.softmax(logits.float(), dim=1)[:, 1:]

        probabilities = in_windows(classify, images, self.settings.crop, poses, pass_.chunk, pass_.progress)
        shown = probabilities.amax(dim=(2, 3))
        return Prediction(probabilities, prompt.decide(shown))

    def _logits(self, pictures: Tensor, noise: Tensor, texts: Sequence[str]) -> Tensor:
        """Logits (batch, 1 + classes, ...) at the pixels of pictures (batch, 3, ...)."""
        words, known = self.text(texts)
        if self.settings.arithmetic == "published":
            known = torch.ones_like(known)
        images = functional.avg_pool2d(pictures, self.settings.shrink)
        logits: Tensor = self.head(self.features(images, noise), words, known, images.shape[2:], pictures)
        return logits

    def features(self, images: Tensor, noise: Tensor) -> list[Tensor]:
        """Activations per level, coarsest first, those of all noise levels side by side, in one frozen batch."""
        return noised_features(self.taps, self.schedule, self.settings.sigmas, images, noise)
