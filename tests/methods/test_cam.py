from __future__ import annotations

import torch

from conftest import SMALL_CAM
from wsseg.methods.cam import CAM
from wsseg.methods.prompt import Pass, Prompt


def test_map_lies_where_the_evidence_is() -> None:
    """A classifier trained for seconds on bright squares marks the squares."""
    torch.manual_seed(0)
    method = CAM(SMALL_CAM, 1)
    optimizer = torch.optim.Adam(method.parameters(), lr=3e-3)
    images, presence, corners = _squares(256)
    for step in range(120):
        part = slice(step % 8 * 32, step % 8 * 32 + 32)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(method.classifier(images[part]), presence[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.requires_grad_(False).eval()
    shown = torch.nonzero(presence[:, 0])[:16, 0]
    found = method.predict(images[shown], Prompt(torch.ones(16, 1)), Pass(8))
    hits = 0
    for probability, index in zip(found.probabilities[:, 0], shown, strict=True):
        top, left = corners[int(index)]
        square = torch.zeros(32, 32, dtype=torch.bool)
        square[top : top + 8, left : left + 8] = True
        hits += bool(probability[square].mean() > 1.3 * probability[~square].mean())
    assert hits >= 14
    assert not method.predict(images[shown], Prompt(torch.zeros(16, 1)), Pass(8)).probabilities.any()


def _squares(count: int) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 32, 32, generator=generator) * 0.1 - 0.5
    presence = (torch.arange(count) % 2).float()[:, None]
    corners = []
    for index in range(count):
        top, left = (int(v) for v in torch.randint(0, 24, (2,), generator=generator))
        corners.append((top, left))
        if presence[index]:
            images[index, :, top : top + 8, left : left + 8] += 1.0
    return images, presence, corners
