"""Whether a sentence is worth anything to TextDiff, on synthetic cells that only a sentence tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from shapes import KINDS, SIZE, make_shapes
from wsseg.data.slices import Batch
from wsseg.data.targets import Targets
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.textdiff import TextDiff, TextDiffSettings

STEPS, RATE, BATCH = 400, 3e-3, 8
NEVER_SEEN = range(10**6, 10**6 + 24)


def _batch(seeds: Sequence[int]) -> Batch:
    made = [make_shapes(seed) for seed in seeds]
    images = torch.from_numpy(np.stack([each.picture for each in made])).permute(0, 3, 1, 2).float() / 127.5 - 1
    pixels = torch.from_numpy(np.stack([np.where(each.mask, 1, 255) for each in made])).to(torch.uint8)
    texts = tuple(each.text for each in made)
    targets = replace(Targets.unknown(len(made), 1, (SIZE, SIZE)), pixels=pixels, texts=texts)
    generator = torch.Generator().manual_seed(seeds[0])
    noise = torch.randn(images.shape, generator=generator)
    return Batch(images, targets, noise, torch.rand(len(made), 4, generator=generator), 0.5)


def _another_kind(text: str) -> str:
    """The sentence with another kind of cell in it."""
    kind = next(kind for kind in KINDS if kind in text)
    return text.replace(kind, KINDS[(KINDS.index(kind) + 1) % len(KINDS)])


def _dice(method: TextDiff, how: str) -> float:
    """Over all pixels of pictures that were never seen, told the true sentence, none or a wrong one."""
    shared, both = 0, 0
    for seed in NEVER_SEEN:
        batch = _batch([seed])
        text = {"true": batch.targets.texts[0], "none": "", "wrong": _another_kind(batch.targets.texts[0])}[how]
        found = method.predict(batch.images, Prompt(text=text), Pass(1)).probabilities[0, 0] > 0.5
        truth = batch.targets.pixels[0] == 1
        shared, both = shared + 2 * int((found & truth).sum()), both + int(found.sum() + truth.sum())
    return shared / max(1, both)


@pytest.mark.long
def test_a_sentence_adds_a_tenth_of_dice_and_a_wrong_one_costs_as_much() -> None:
    """A random backbone, and 400 steps of the head: a minute and a half of one core."""
    torch.manual_seed(0)
    small = {"widths": (32, 32, 32), "sigmas": (0.1,), "crop": SIZE, "shrink": 2}
    head = {"width": 32, "hidden": (32, 16), "text_width": 32, "text_dropout": 0.2}
    method = TextDiff(TextDiffSettings.model_validate(small | head), 1)
    stage = method.stages()[0]
    method.requires_grad_(False)
    stage.module.requires_grad_(True).train()
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.1)
    for step in range(STEPS):
        loss = torch.stack(list(method.losses(stage, _batch(range(step * BATCH, (step + 1) * BATCH))).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    method.requires_grad_(False).eval()
    true, none, wrong = (_dice(method, how) for how in ("true", "none", "wrong"))
    assert true - none >= 0.10, (true, none, wrong)
    assert true - wrong >= 0.10, (true, none, wrong)
