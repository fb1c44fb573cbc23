"""Contrast between pixels: those of one class close together, those of others apart."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_pixels(embeddings: Tensor, labels: Tensor, per_class: int, position: Tensor) -> tuple[Tensor, Tensor]:
    """Labelled pixels, as many of each class that an image shows.

    Args:
        embeddings: (batch, length, rows, columns).
        labels: (batch, rows, columns); 0 is not labelled and never sampled.
        per_class: pixels per image and class; all where there are fewer.
        position: (batch,) in [0, 1), all the randomness there is.

    Returns:
        Vectors (pixels, length) and their labels (pixels,).
    """
    vectors, classes = [], []
    for image, plane, seed in zip(embeddings.flatten(2), labels.flatten(1), position.tolist(), strict=True):
        rng = torch.Generator().manual_seed(int(seed * 2**31))
        for label in plane.unique().tolist():
            where = torch.nonzero(plane == label)[:, 0]
            if label:
                sampled = where[torch.randperm(len(where), generator=rng)[:per_class].to(where.device)]
                vectors.append(image[:, sampled].T)
                classes.append(torch.full((len(sampled),), label, device=labels.device))
    if not vectors:
        return embeddings[:0].flatten(1)[:, : embeddings.shape[1]], labels[:0, 0, 0]
    return torch.cat(vectors), torch.cat(classes)


def contrast_loss(vectors: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Supervised contrast (Khosla et al. 2020, equation 2), mean over classes.

    L_i = -1/|P(i)| sum_{p in P(i)} log exp(z_i z_p / k) / sum_{j != i} exp(z_i z_j / k),
    with P(i) the other pixels of i's class. Every class weighs the same,
    however many pixels of it there are.

    Args:
        vectors: (pixels, length), of unit length.
        classes: (pixels,).
        temperature: k.

    0 where there is no pixel.
    """
    if len(vectors) == 0:
        return vectors.sum()  # 0, with a gradient
    same = classes[:, None] == classes[None]
    same.fill_diagonal_(False)
    with torch.autocast(vectors.device.type, enabled=False):  # bf16 would round a cosine of 1 / 0.1 by 0.06
        alike = vectors.float() @ vectors.float().T / temperature
    alike = alike.masked_fill(torch.eye(len(vectors), dtype=torch.bool, device=vectors.device), float("-inf"))
    log_part = (alike - alike.logsumexp(dim=1, keepdim=True)).masked_fill(~same, 0.0)
    per_pixel = -log_part.sum(dim=1) / same.sum(dim=1).clamp(min=1)
    return torch.stack([per_pixel[classes == label].mean() for label in classes.unique()]).mean()
