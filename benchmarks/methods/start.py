"""Train the weights that the union learner starts from: one network for several tasks at once, from weak labels.

    python benchmarks/methods/start.py OUT TASK... [--steps 5000]

A task is a folder as `benchmarks/methods/union.py` takes it; a step learns from
one of them, in turn. All share the network but for its last convolution, which
has an output for each class and is not kept. OUT becomes a package with averaged
weights; what its metadata says of data and licences is written by hand.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from union import classes_of, modality_of

from wsseg.data.preprocess import View
from wsseg.data.slices import Batch, LabelledSlices, load_slices
from wsseg.inference.device import mixed_precision
from wsseg.methods.backbones.start import Start, StartSettings
from wsseg.methods.base import Stage
from wsseg.methods.registry import stored_weights
from wsseg.methods.union import Union, UnionSettings
from wsseg.models.package import Recipe
from wsseg.models.record import SCRATCH, StageRecord, TrainingRecord
from wsseg.training.loop import averaged, learning_rate
from wsseg.training.planning.backbone import NOTHING, write_backbone
from wsseg.training.planning.plan import plan_for

SIDE, SQUARES = 96, 10
"""So many squares of so many pixels a side are looked at in a step, or as many pixels in others."""

RECALIBRATION = 60
"""Batches over which running statistics are taken for averaged weights."""


@dataclass(frozen=True)
class Task:
    """One of those that are learned at once.

    Attributes:
        method: its learner, which shares its network with the others'.
        slices: what it learns from.
        stage: that of pixel labels.
    """

    method: Union
    slices: LabelledSlices
    stage: Stage

    def batch(self, step: int, done: float) -> Batch:
        """The samples of a step."""
        count = max(2, round(SQUARES * SIDE**2 / self.method.settings.crop**2))
        found = self.slices.batch(0, step, range(count), self.method.variety, done)
        return found.to(torch.device("cpu"))


def task_of(folder: Path) -> Task:
    """A task, its scans read as a new model of it would see them."""
    labels = classes_of(folder)
    plan = plan_for(folder / "train", labels, modality_of(folder))
    if plan.windows:
        raise SystemExit(f"{folder}: has windows of Hounsfield units, where all are to share the first convolution")
    method = Union(UnionSettings.model_validate(plan.settings), len(labels))
    view = View(plan.size, bright=plan.bright, windows=plan.windows)
    slices = load_slices(folder / "train", labels, view, method.learns_from)
    print(f"{folder.name}: {len(slices.cases)} scans, {'; '.join(plan.reasons)}", flush=True)
    return Task(method.train(), slices, method.stages()[-1])


def share(tasks: list[Task]) -> nn.Module:
    """Give all tasks the first one's network, each with its own answer."""
    first = tasks[0].method.network
    for task in tasks[1:]:
        for name, part in first.named_children():
            if name != "answer":
                setattr(task.method.network, name, part)
    return nn.ModuleList([task.method.network for task in tasks])


def main() -> None:
    """Train, and write the weights down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("task", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=5000)
    asked = parser.parse_args()
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    tasks = [task_of(folder) for folder in asked.task]
    networks = share(tasks).to(memory_format=torch.channels_last)
    weights = list(networks.parameters())
    optimizer = torch.optim.AdamW(weights, lr=tasks[0].stage.rate, weight_decay=1e-4)
    average = averaged(weights)
    began = time.monotonic()
    for step, task in zip(range(asked.steps), cycle(tasks), strict=False):
        done = step / asked.steps
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(task.stage, step, done)
        with mixed_precision(torch.device("cpu")):
            losses = task.method.losses(task.stage, task.batch(step, done))
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(weights)
        if step % 100 < len(tasks):
            terms = ", ".join(f"{name} {float(loss):.3f}" for name, loss in losses.items() if float(loss))
            print(f"{step} {time.monotonic() - began:.0f} s {asked.task[step % len(tasks)].name}: {terms}", flush=True)
    average.copy_to(weights)
    recalibrate(tasks)
    write(asked.out, tasks, asked.steps, time.monotonic() - began)


def write(out: Path, tasks: list[Task], steps: int, seconds: float) -> None:
    """The package."""
    method = Start(StartSettings(), 1)
    method.network.begin_with(tasks[0].method.network.state_dict())
    stage = tasks[0].stage
    recipe = Recipe(
        format=2,
        method="start",
        settings={},
        labels=NOTHING,
        size=SIDE,
        modality="MR",
        licence="follows from the data it was trained on",
        training=TrainingRecord(
            scans=sum(len(task.slices.cases) for task in tasks),
            slices=sum(len(task.slices.images) for task in tasks),
            seed=0,
            origin=SCRATCH,
            stages={stage.name: StageRecord(steps=steps, batch=stage.batch, rate=stage.rate)},
            seconds=round(seconds, 1),
            hardware="CPU",
        ),
    )
    write_backbone(
        out,
        recipe,
        stored_weights(method),
        description="What the union learner starts from: its network, taught several tasks at once by weak labels.",
    )


def recalibrate(tasks: list[Task]) -> None:
    """Running statistics of the shared network, over batches of all tasks in turn."""
    batches = (task.batch(step, 1.0).images for step, task in zip(range(RECALIBRATION), cycle(tasks), strict=False))
    update_bn(batches, tasks[0].method.network)


if __name__ == "__main__":
    main()
