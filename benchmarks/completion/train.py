"""Train the network that completes strokes, points and boxes to masks, on synthetic pictures alone.

    python benchmarks/completion/train.py OUT [--start PACKAGE] [--minutes 60] [--seed 0]

OUT becomes a model package; with ``--start`` training goes on from another's weights.
Two thirds of every batch are pictures seen before, turned, mirrored in intensity,
since drawing one takes as long as learning from it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from synthetic import Example, example
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from wsseg.inference.device import mixed_precision
from wsseg.methods.backbones.completion import Completion, CompletionSettings
from wsseg.methods.base import Method, Stage
from wsseg.methods.registry import load_method, stored_weights
from wsseg.methods.shared.labelling.completion import SIDE, Window, look, through
from wsseg.models.package import ModelPackage, Recipe, read_package
from wsseg.models.record import SCRATCH, StageRecord, TrainingRecord
from wsseg.training.loop import averaged, learning_rate
from wsseg.training.planning.backbone import NOTHING, write_backbone

BATCH, NEW, POOL = 12, 4, 4000
"""Pictures a step, those of them that are new, those that are kept."""

RATE = 2e-3
STAGE = "completion"
SMOOTHED = 0.015
"""What certain labels lack of certainty, so that a faint shape does not make the network sure."""


def view_of(drawn: Example, rng: np.random.Generator) -> Tensor:
    """What the network would see of an example, from a little closer or farther, and the shape, (5, SIDE, SIDE)."""
    boxed = bool(drawn.box.any())
    exact = Window.around(drawn.box if boxed else drawn.own, drawn.others, boxed)
    half = exact.half * rng.uniform(0.8, 1.35)
    row, column = rng.uniform(-0.12, 0.12, 2) * half + (exact.row, exact.column)
    window = [Window(row, column, half)]
    own, others, box, shape = (
        torch.from_numpy(mask)[None] for mask in (drawn.own, drawn.others, drawn.box, drawn.shape)
    )
    seen = look(torch.from_numpy(drawn.picture)[None, None], own, others, box, window)
    return torch.cat([seen, (through(window, shape[:, None].float()) > 0.5).float()], dim=1)[0]


def turned(view: Tensor, rng: np.random.Generator) -> Tensor:
    """The same lying otherwise, under other intensities, perhaps negative."""
    picture = view[:1] * rng.choice([-1, 1]) * rng.uniform(0.6, 1.2) + rng.normal() * 0.1
    found: Tensor = torch.rot90(torch.cat([picture, view[1:]]).float(), int(rng.integers(4)), (1, 2))
    return found


def losses(logits: Tensor, shape: Tensor) -> Tensor:
    """Cross-entropy and 1 - soft Dice, means over the batch."""
    logits, shape = logits.float()[:, 0], shape * (1 - 2 * SMOOTHED) + SMOOTHED
    found = torch.sigmoid(logits)
    both, either = (found * shape).flatten(1).sum(dim=1), (found + shape).flatten(1).sum(dim=1)
    overlap = 1 - (2 * both + 1) / (either + 1)
    return functional.binary_cross_entropy_with_logits(logits, shape) + overlap.mean()


def main() -> None:
    """Train, and write the weights down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    torch.set_flush_denormal(True)
    rng = np.random.default_rng(asked.seed)
    before = read_package(asked.start, asked.start.name) if asked.start else None
    method = load_method(before) if before else Completion(CompletionSettings(), 1)
    network = method.get_submodule("network").requires_grad_(True).train().to(memory_format=torch.channels_last)
    stage = Stage(STAGE, network, steps=0, rate=RATE, batch=BATCH)  # it ends by time
    weights = list(network.parameters())
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=1e-4)
    average = averaged(weights)
    pool: list[Tensor] = []
    began, step = time.monotonic(), 0
    while (done := (time.monotonic() - began) / 60 / asked.minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(stage, step, done)
        views = next_batch(pool, rng)
        with mixed_precision(torch.device("cpu")):
            logits = network(views[:, :4])
        loss = losses(logits, views[:, 4])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(weights)
        step += 1
        if step % 100 == 0:
            print(f"{step} {time.monotonic() - began:.0f} s: {float(loss.detach()):.3f}", flush=True)
    average.copy_to(weights)
    with torch.no_grad():
        update_bn((torch.stack([view_of(example(rng), rng) for _ in range(16)])[:, :4] for _ in range(30)), network)
    write(asked.out, method, before, step, time.monotonic() - began, asked.seed)


def next_batch(pool: list[Tensor], rng: np.random.Generator) -> Tensor:
    """Some new pictures, which go into the pool, and some of the pool."""
    new = [view_of(example(rng), rng) for _ in range(NEW)]
    pool += [view.half() for view in new]
    del pool[:-POOL]
    chosen: NDArray[np.int64] = rng.integers(len(pool), size=BATCH - NEW)
    views = torch.stack([*new, *(turned(pool[index], rng) for index in chosen)])
    return views.contiguous(memory_format=torch.channels_last)


def write(out: Path, method: Method, before: ModelPackage | None, steps: int, seconds: float, seed: int) -> None:
    """The package, with the steps of its predecessor counted."""
    if before and before.recipe.training:
        steps += before.recipe.training.stages[STAGE].steps
        seconds += before.recipe.training.seconds
    recipe = Recipe(
        format=2,
        method="completion",
        settings={},
        labels=NOTHING,
        size=SIDE,
        modality="any",
        licence="Apache-2.0, as wsseg: no scan was learned from",
        training=TrainingRecord(
            scans=0,
            slices=0,
            seed=seed,
            origin=SCRATCH,
            stages={STAGE: StageRecord(steps=steps, batch=BATCH, rate=RATE)},
            seconds=round(seconds, 1),
            hardware="CPU",
        ),
    )
    write_backbone(
        out,
        recipe,
        stored_weights(method),
        description="Completes strokes, points and boxes to masks; learned from synthetic pictures alone.",
    )


if __name__ == "__main__":
    main()
