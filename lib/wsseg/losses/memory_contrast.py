"""Pixel contrast against a memory of class means (PCLMix, section "uncertainty-guided pixel-level contrast")."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ClassMemory(nn.Module):
    """The newest class means of every class, background counted, first in first out.

    Nothing is sampled from places that were never filled.

    Args:
        classes: number of classes, background counted.
        length: of an embedding.
        size: means kept of each class.
    """

    vectors: Tensor
    written: Tensor

    def __init__(self, classes: int, length: int, size: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(classes, size, length))
        self.register_buffer("written", torch.zeros(classes, dtype=torch.long))

    def filled(self) -> tuple[Tensor, Tensor]:
        """All means held, (entries, length) of unit length, and their classes (entries,)."""
        size = self.vectors.shape[1]
        held = torch.arange(size, device=self.written.device)[None] < self.written[:, None]
        classes = torch.arange(len(self.vectors), device=held.device)[:, None].expand_as(held)
        return self.vectors[held], classes[held]

    @torch.no_grad()
    def push(self, embeddings: Tensor, labels: Tensor) -> None:
        """Add the mean of each class of each image; in place of the oldest where all places are taken.

        Args:
            embeddings: (batch, length, rows, columns) of unit length.
            labels: (batch, rows, columns), 0 background, 1..N, -1 not known.
        """
        for image, plane in zip(embeddings.detach().float(), labels, strict=True):
            for k in plane[plane >= 0].unique().tolist():
                mean = functional.normalize(image[:, plane == k].mean(dim=1), dim=0)
                self.vectors[k, self.written[k] % self.vectors.shape[1]] = mean
                self.written[k] += 1


def believed(one: Tensor, other: Tensor, target: Tensor, known: Tensor, limit: float) -> Tensor:
    """Pseudo-labels of two opinions where they are sure enough: argmax of their mean p, -1 where it is in doubt.

    In doubt is what has an entropy U = -sum p log p above ``limit`` of the
    greatest there can be, log of the number of classes. Scribbles overrule.

    Args:
        one, other: logits (batch, classes, rows, columns).
        target: (batch, rows, columns) classes, right where ``known``.
        limit: in [0, 1].
    """
    mean = (torch.softmax(one.float(), dim=1) + torch.softmax(other.float(), dim=1)) / 2
    entropy = -(mean * mean.clamp(min=1e-8).log()).sum(dim=1)
    greatest = torch.log(torch.tensor(float(mean.shape[1])))
    labels = torch.where(entropy > limit * greatest, -1, mean.argmax(dim=1))
    return torch.where(known, target, labels)


def choose_anchors(labels: Tensor, said: Tensor, per_class: int, position: Tensor) -> Tensor:
    """Pixels that contrast is taken at, half of them hard where there are so many.

    Args:
        labels: (batch, rows, columns), -1 for those never chosen.
        said: (batch, rows, columns), the classes that the main decoder says; hard is where it differs.
        per_class: most anchors of one class in one image.
        position: (batch,) in [0, 1), all the randomness there is.

    Returns:
        (batch, rows, columns) bool.
    """
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for image, seed in enumerate(position.tolist()):
        rng = torch.Generator().manual_seed(int(seed * 2**31))
        plane, hard = labels[image], said[image] != labels[image]
        for k in plane[plane >= 0].unique().tolist():
            difficult, easy = (torch.nonzero((plane == k) & kind) for kind in (hard, ~hard))
            count = min(len(difficult), max(per_class // 2, per_class - len(easy)))
            for places, wanted in ((difficult, count), (easy, per_class - count)):
                sampled = places[torch.randperm(len(places), generator=rng)[:wanted].to(places.device)]
                chosen[image, sampled[:, 0], sampled[:, 1]] = True
    return chosen


def memory_contrast(anchors: Tensor, classes: Tensor, memory: ClassMemory, temperature: float) -> Tensor:
    """Mean over anchors a and entries m+ of a's class of -log exp(a m+/t) / (exp(a m+/t) + sum_- exp(a m-/t)).

    0 while the memory holds no entry of an anchor's class or none of another's.

    Args:
        anchors: (anchors, length) of unit length.
        classes: (anchors,).
        temperature: t.
    """
    entries, kinds = memory.filled()
    with torch.autocast(anchors.device.type, enabled=False):  # bf16 would round a cosine of 1 / 0.07 by 0.06
        alike = anchors.float() @ entries.float().T / temperature
    same = classes[:, None] == kinds[None]
    useful = same.any(dim=1) & (~same).any(dim=1)
    if not useful.any():
        return anchors.sum() * 0
    alike, same = alike[useful], same[useful]
    others = alike.masked_fill(same, float("-inf")).logsumexp(dim=1, keepdim=True)
    each = functional.softplus(others - alike).masked_fill(~same, 0)
    return (each.sum(dim=1) / same.sum(dim=1)).mean()
