"""A small classifier of slices, trained from random weights on those that are labelled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

from wsseg.data.augment import Augmentation, Variety, augment
from wsseg.data.targets import Targets
from wsseg.losses.presence import presence_loss
from wsseg.methods.cam import CAM, CAMSettings
from wsseg.methods.prompt import Pass, Prompt


@dataclass(frozen=True)
class Recipe:
    """The training of every round."""

    size: int = 32
    widths: tuple[int, int, int, int] = (8, 16, 32, 64)
    steps: int = 500
    batch: int = 32
    rate: float = 3e-3
    warm_up: int = 30
    average: float = 0.97


def train_classifier(images: Tensor, truth: Tensor, recipe: Recipe, seed: int) -> CAM:
    """From random weights; half of every batch shows the finding, the rate falls as a cosine, weights are averaged."""
    torch.manual_seed(seed)
    method = CAM(CAMSettings(widths=recipe.widths, layer="layer2", classifier_size=recipe.size), 1)
    method.train().to(memory_format=torch.channels_last)
    weights = list(method.parameters())
    optimizer = torch.optim.AdamW(weights, recipe.rate, weight_decay=1e-4)
    average = EMAModel(weights, decay=recipe.average)
    states = [torch.nonzero(truth[:, 0] == state)[:, 0].numpy() for state in (1, 0)]
    half = recipe.batch // 2
    for step in range(recipe.steps):
        rng = np.random.default_rng([seed, step])
        sampled = np.concatenate([rng.choice(state, half) for state in states if len(state)])
        varied = [Augmentation.draw(rng, Variety()) for _ in sampled]
        batch, _ = augment(images[sampled], Targets.unknown(len(sampled), 1, images.shape[2:]), varied)
        rate = recipe.rate * min(1, (step + 1) / recipe.warm_up) * (1 + np.cos(np.pi * step / recipe.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = presence_loss(method.classifier(batch.contiguous(memory_format=torch.channels_last)), truth[sampled])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(weights)
    average.copy_to(weights)
    return method.requires_grad_(False).eval()


def presence_of(method: CAM, images: Tensor) -> Tensor:
    """Presence probability (slices, 1)."""
    return method.presence_probability(images, 64)


def areas_of(method: CAM, images: Tensor) -> Tensor:
    """The part of each slice (slices,) that the mask marks."""
    maps = method.predict(images, Prompt(), Pass(64)).probabilities
    return (maps[:, 0] > 0.5).float().mean(dim=(1, 2))
