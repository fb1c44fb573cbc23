"""Scans and weak labels to a trained method: the one loop that all methods share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from wsseg.data.slices import Batch, LabelledSlices
from wsseg.errors import WssegError
from wsseg.methods.base import Method, Stage
from wsseg.volume import whole_file

WARM_UP = 100
"""Steps over which the learning rate rises from 0."""


@dataclass(frozen=True)
class TrainSettings:
    """How a run is carried out; what is learned stands in the method's settings.

    Attributes:
        folder: holds the checkpoint, ``train_stats.json`` and TensorBoard curves.
        seed: of weights, batches, noise and augmentation.
        steps: replaces each stage's default number of steps.
        save_every: seconds between checkpoints; a kill loses at most so much.
        mixed: bf16 where the hardware has it; off for exact comparisons.
        compile: fuse the networks with torch.compile, which needs a C++
            compiler; pays after some hundred steps (1.5 times on two cores).
    """

    folder: Path
    seed: int = 0
    steps: int | None = None
    save_every: float = 120.0
    mixed: bool = True
    compile: bool = False


@dataclass
class Stats:
    """What viewers poll while training runs (``train_stats.json``).

    ``epoch`` counts steps over all stages. ``total_time`` is there only when
    training has finished: MONAI Label's viewers take its presence as the end.
    """

    epoch: int
    total_epochs: int
    stage: str
    losses: dict[str, float]
    seconds: float
    total_time: str | None = None

    def write(self, path: Path) -> None:
        """Replace the file as a whole."""
        present = {key: value for key, value in asdict(self).items() if value is not None}
        with whole_file(path) as part:
            part.write_text(json.dumps(present))


class _Objective(nn.Module):
    """One stage as a module, so that DistributedDataParallel can wrap it."""

    def __init__(self, method: Method, stage: Stage) -> None:
        super().__init__()
        self.method, self.stage = method, stage

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.method.losses(self.stage, batch)


@dataclass
class _Run:
    """The state of one run: where it is and what it has spent."""

    method: Method
    data: LabelledSlices
    settings: TrainSettings
    accelerator: Accelerator
    report: Callable[[Stats], None]
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    saved: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)

    @property
    def checkpoint(self) -> Path:
        return self.settings.folder / "checkpoint.pt"

    def elapsed(self) -> float:
        """Seconds of training, earlier runs included."""
        return self.seconds + time.monotonic() - self.started


def train(
    method: Method,
    data: LabelledSlices,
    settings: TrainSettings,
    report: Callable[[Stats], None] = lambda stats: None,
) -> float:
    """Train all stages of a method in place; goes on from a checkpoint in the folder.

    The result holds the exponential moving average of the weights after the
    last step: no mask and no validation score takes part in choosing it.

    Under ``torchrun`` every process takes its share of each step's samples, and
    the result is that of one process within rounding.

    Returns:
        Seconds of training, those before a resume included.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        mixed_precision=_precision(settings.mixed), log_with="tensorboard", project_dir=settings.folder
    )
    accelerator.init_trackers("curves")
    run = _Run(method, data, settings, accelerator, report)
    stages = method.stages()
    run.total = sum(settings.steps or stage.steps for stage in stages)
    saved = load_checkpoint(run.checkpoint)
    if saved:
        method.load_state_dict(saved["method"])
        run.seconds = saved["seconds"]
    method.to(accelerator.device)
    first = saved["stage"] if saved else 0
    for index, stage in enumerate(stages):
        length = settings.steps or stage.steps
        if index >= first:
            _train_stage(run, index, stage, length, saved if index == first else None)
        run.done += length
    method.requires_grad_(False).eval().cpu()
    _report(run, stages[-1], {}, finished=True)
    accelerator.end_training()
    return run.elapsed()


def load_checkpoint(path: Path) -> dict | None:
    """The state an interrupted run left, read without unpickling code."""
    if not path.exists():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def _precision(mixed: bool) -> str:
    """bf16 where a GPU has it, or the CPU computes in it (AVX512-BF16, AMX)."""
    if not mixed:
        return "no"
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "no"


def _train_stage(run: _Run, index: int, stage: Stage, length: int, saved: dict | None) -> None:
    run.method.requires_grad_(False).eval()
    stage.module.requires_grad_(True).train()
    stage.module.to(memory_format=torch.channels_last)
    if run.settings.compile:
        stage.module.compile()
    weights = list(stage.module.parameters())
    optimizer = torch.optim.AdamW(weights, lr=stage.rate, weight_decay=1e-4)
    average = EMAModel(weights, decay=0.999, use_ema_warmup=True, power=0.75)
    average.to(run.accelerator.device)
    objective, optimizer = run.accelerator.prepare(_Objective(run.method, stage), optimizer)
    begin = 0
    if saved and saved["step"]:
        optimizer.load_state_dict(saved["optimizer"])
        average.load_state_dict(saved["average"])
        begin = saved["step"]
    share = _share(stage.batch, run.accelerator)
    for step in range(begin, length):
        batch = _to_device(run.data.batch(_stage_seed(run.settings.seed, index), step, share), run.accelerator)
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * min(1.0, (step + 1) / WARM_UP)
        losses = objective(batch)
        run.accelerator.backward(torch.stack(list(losses.values())).sum())
        run.accelerator.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(weights)
        if (step + 1) % 20 == 0:
            _report(run, stage, {name: float(loss.detach()) for name, loss in losses.items()}, step + 1)
        if time.monotonic() - run.saved > run.settings.save_every:
            _save(run, index, step + 1, optimizer, average)
    average.copy_to(weights)
    _save(run, index + 1, 0, None, None)
    run.accelerator.free_memory()


def _share(batch: int, accelerator: Accelerator) -> range:
    """This process's positions in the global batch."""
    if batch % accelerator.num_processes:
        raise WssegError(f"{accelerator.num_processes} processes cannot share a batch of {batch} evenly")
    return range(accelerator.process_index, batch, accelerator.num_processes)


def _stage_seed(seed: int, index: int) -> int:
    return 1000 * seed + index


def _to_device(batch: Batch, accelerator: Accelerator) -> Batch:
    device = accelerator.device
    images = batch.images.to(device, memory_format=torch.channels_last)
    return Batch(images, batch.presence.to(device), batch.noise.to(device), batch.uniform.to(device))


def _save(run: _Run, stage: int, step: int, optimizer: Any, average: EMAModel | None) -> None:
    """Write the checkpoint as a whole; ``stage`` and ``step`` are the next to do."""
    run.saved = time.monotonic()
    if not run.accelerator.is_main_process:
        return
    state = {
        "method": run.method.state_dict(),
        "stage": stage,
        "step": step,
        "seconds": run.elapsed(),
        "optimizer": optimizer.state_dict() if step else None,
        "average": average.state_dict() if average and step else None,
    }
    with whole_file(run.checkpoint) as part:
        torch.save(state, part)


def _report(run: _Run, stage: Stage, losses: dict[str, float], step: int = 0, finished: bool = False) -> None:
    if not run.accelerator.is_main_process:
        return
    took = run.elapsed()
    total_time = str(timedelta(seconds=int(took))) if finished else None
    stats = Stats(run.done + step, run.total, stage.name, losses, round(took, 1), total_time)
    stats.write(run.settings.folder / "train_stats.json")
    run.accelerator.log({f"{stage.name}/{name}": loss for name, loss in losses.items()}, step)
    run.report(stats)
