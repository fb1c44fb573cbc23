from __future__ import annotations

import math

import torch
from torch.nn import functional

from wsseg.losses.contrast import contrast_loss, sample_pixels


def test_contrast_is_the_sum_it_says() -> None:
    """Against the formula written out pixel by pixel."""
    vectors = functional.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    classes, losses = torch.tensor([1, 1, 2, 2, 2, 1, 1]), []
    for i in range(7):
        alike = [math.exp(float(vectors[i] @ vectors[j]) / 0.3) for j in range(7)]
        others = sum(a for j, a in enumerate(alike) if j != i)
        own = [j for j in range(7) if j != i and classes[j] == classes[i]]
        losses.append(-sum(math.log(alike[j] / others) for j in own) / len(own))
    per_class = [
        sum(x for x, c in zip(losses, classes, strict=True) if c == k) / int((classes == k).sum()) for k in (1, 2)
    ]
    assert abs(float(contrast_loss(vectors, classes, 0.3)) - sum(per_class) / 2) < 1e-5


def test_contrast_pulls_classes_apart() -> None:
    apart = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4)
    mixed = torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 4)
    classes = torch.tensor([1] * 4 + [255] * 4)
    assert contrast_loss(apart, classes, 0.1) < contrast_loss(mixed, classes, 0.1) - 1


def test_one_pixel_of_a_class_has_a_finite_gradient() -> None:
    vectors = functional.normalize(
        torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=1
    ).requires_grad_()
    contrast_loss(vectors, torch.tensor([1, 2, 2]), 0.1).backward()
    assert torch.isfinite(vectors.grad).all()


def test_pixels_are_drawn_of_every_class_an_image_shows() -> None:
    labels = torch.zeros(2, 4, 4, dtype=torch.long)
    labels[0, 0, 0], labels[:, 3] = 1, 255
    embeddings = labels[:, None].float().expand(-1, 3, -1, -1)
    vectors, classes = sample_pixels(embeddings, labels, 5, torch.tensor([0.1, 0.9]))
    assert classes.tolist() == [1] + [255] * 8, "one pixel of 1 and four of 255 are all there are"
    assert len(sample_pixels(embeddings, labels, 2, torch.tensor([0.1, 0.9]))[1]) == 1 + 2 + 2
    assert torch.equal(vectors[:, 0].long(), classes), "a vector is that of its label's pixel"
