"""The one loop that all methods share: its stages, steps and averages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from wsseg.data.slices import Batch, LabelledSlices
from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.inference.device import has_bf16, mixed_precision, slices_per_pass
from wsseg.methods.base import Method, Stage
from wsseg.methods.prompt import Pass
from wsseg.training.best import Best, held_back_score
from wsseg.training.checkpoint import LABELS, Checkpoint
from wsseg.training.glimpse import Glimpse
from wsseg.training.pace import quickest
from wsseg.training.progress import Report, Wish, preparing
from wsseg.training.settings import TrainSettings
from wsseg.training.state import RunState

WARM_UP = 100
"""Steps over which the learning rate rises from 0."""


RECALIBRATION = 50
"""Most batches over which running statistics are taken anew for averaged weights."""


SCORES = 5
"""Times a stage's average is scored on labels held back, its end included."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        origin: of the weights it started from.
        seconds: of training, those before an interruption included.
        carried: steps that were carried out of each stage; none of the last ones where it was wanted to finish.
        steps: planned, of all stages.
    """

    origin: str
    seconds: float
    carried: tuple[int, ...]
    steps: int


class _Objective(nn.Module):
    """One stage as a module, so that DistributedDataParallel can wrap it."""

    def __init__(self, method: Method, stage: Stage, mixed: bool) -> None:
        super().__init__()
        self.method, self.stage, self.mixed = method, stage, mixed

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.mixed):
            return self.method.losses(self.stage, batch)


def train(
    method: Method,
    data: LabelledSlices,
    settings: TrainSettings,
    report: Report = lambda progress: None,
    held: LabelledSlices | None = None,
    wish: Callable[[], Wish] = lambda: Wish.GO_ON,
) -> Outcome:
    """Train all stages of a method in place; goes on from a checkpoint in the folder, unless ``fresh``.

    The result holds the exponential moving average of the weights after the
    last step, or with ``held`` the average that scores best on those labels:
    no mask takes part in choosing it.

    Under ``torchrun`` every process takes its share of each step's samples, and
    the result is that of one process within rounding, where a loss is a mean
    over samples. CLDF's contrast looks at the pixels of its own process only.

    Args:
        wish: asked after every step. A run that is to finish ends as if this
            step were the last of all; one that is to pause leaves a checkpoint.

    Raises:
        NothingYetError: it is to finish, and has learned too little; its checkpoint is left.
        PausedError: it was to pause, and has.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    stages = method.stages()
    lengths = [settings.steps or stage.steps for stage in stages]
    curves = SummaryWriter(settings.folder / "curves")
    run = RunState(method, stages, data, settings, accelerator, report, wish, curves, held, lengths, settings.origin)
    saved = None if settings.fresh else Checkpoint.read(run.file)
    if saved:
        run.restore(saved)
    method.to(accelerator.device)
    with _without_denormals():
        for index in range(run.first, len(stages)):
            resumed = saved if saved and index == run.first and saved.step else None
            run.data = data.with_pixels(_pixel_labels(run, stages[index], data, resumed is not None))
            _train_stage(run, index, resumed)
            if run.finished:
                break
    method.requires_grad_(False).eval().cpu()
    run.curves.close()
    carried = *run.carried, *[0] * (len(stages) - len(run.carried))
    return Outcome(run.origin, run.elapsed(), carried, run.total)


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Those of a network that is sure make steps ten times slower; whoever computes after training has them again."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _pixel_labels(run: RunState, stage: Stage, data: LabelledSlices, resumed: bool) -> Tensor:
    """What a stage learns from; on a resume what it began with, as the weights have changed since."""
    if not stage.makes_labels:
        return data.targets.pixels
    file = run.settings.folder / LABELS
    if resumed:
        try:
            return load_file(file)["pixels"]
        except (OSError, SafetensorError) as error:
            raise WssegError(f"{file}: is missing or damaged; start again with --fresh") from error
    begin = time.monotonic()
    run.method.requires_grad_(False).eval()
    chunk = slices_per_pass(run.accelerator.device, data.images.shape[-1], run.method.pixel_bytes)
    progress = preparing(run.listener, "making labels", run.wish, run.progress)
    with torch.no_grad(), mixed_precision(run.accelerator.device, run.settings.mixed):
        pixels = run.method.pixel_labels(stage, data, Pass(chunk, progress=progress))
    if run.accelerator.is_main_process:
        with whole_file(file) as part:
            save_file({"pixels": pixels}, part)
    run.accelerator.wait_for_everyone()
    run.pause(time.monotonic() - begin)
    return load_file(file)["pixels"]


def averaged(weights: list[nn.Parameter]) -> EMAModel:
    """The moving average of weights, which follows them closely at first."""
    return EMAModel(weights, decay=0.999, use_ema_warmup=True, power=0.75)


def _train_stage(run: RunState, index: int, saved: Checkpoint | None) -> None:
    stage = run.stages[index]
    held = run.held if stage.decides else None
    run.method.requires_grad_(False).eval()
    stage.module.requires_grad_(True).train()
    stage.module.to(memory_format=torch.channels_last)
    if run.settings.compile:
        if isinstance(stage.module, nn.ModuleList):  # its own forward, which is what would be fused, is never called
            raise WssegError(f"--compile: stage {stage.name} trains several networks at once, leave it out")
        stage.module.compile()
    weights = list(stage.module.parameters())
    optimizer = torch.optim.AdamW(weights, lr=stage.rate, weight_decay=1e-4)
    average = averaged(weights)
    mixed = run.settings.mixed and has_bf16(run.accelerator.device)
    objective, optimizer = run.accelerator.prepare(_Objective(run.method, stage, mixed), optimizer)
    step, best = 0, Best()
    if saved:
        try:
            optimizer.load_state_dict(saved.optimizer)
        except ValueError as error:  # a part of the network is new since
            raise WssegError(f"{run.file}: is of another network; start again with --fresh") from error
        average.load_state_dict(saved.average)
        step, best = saved.step, Best(*saved.best)
    average.to(run.accelerator.device)
    share = _share(stage.batch, run.accelerator)
    seed, variety = _stage_seed(run.settings.seed, index), run.method.variety
    recalibrate = partial(_recalibrate, run, index, seed)
    if run.settings.minutes is not None and run.accelerator.device.type == "cpu" and run.accelerator.num_processes == 1:
        begin, batch = time.monotonic(), run.data.batch(seed, step, share, variety)
        objective.mixed = quickest(partial(_try_step, objective, batch), mixed)
        optimizer.zero_grad()
        run.pause(time.monotonic() - begin)
    run.begin(step)
    done, scored = run.part(index, step), step
    while done < 1 and not run.finished:
        batch = run.data.batch(seed, step, share, variety, done).to(run.accelerator.device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(stage, step, done)
        losses = objective(batch)
        run.accelerator.backward(torch.stack(list(losses.values())).sum())
        run.accelerator.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(weights)
        step, before, done = step + 1, done, run.part(index, step + 1)
        if done >= 1 or run.speaks(step):
            run.report(index, step, _mean_losses(run, losses, stage, step))
        if held is not None and min(SCORES, int(done * SCORES)) > int(before * SCORES):
            _try_average(run, stage, held, average, best, step, recalibrate)
            scored = step
        save = partial(_save, run, index, step, optimizer, average, best)
        run.heed(index, step, save)
        if run.due():
            save()
    if run.finished and held is not None and scored < step:
        _try_average(run, stage, held, average, best, step, recalibrate)
    average.copy_to(weights)
    if not best.state:
        recalibrate()
    best.restore(stage.module)
    run.end(index, step)
    _save(run, len(run.stages) if run.finished else index + 1, 0, None, None, best)
    run.accelerator.free_memory()


def _try_step(objective: _Objective, batch: Batch, mixed: bool) -> None:
    """Forward and backward, to be timed."""
    objective.mixed = mixed
    torch.stack(list(objective(batch).values())).sum().backward()


def learning_rate(stage: Stage, step: int, done: float) -> float:
    """A stage's rate at a step: it warms up, and falls along half a cosine (Loshchilov and Hutter 2017).

    Args:
        done: part of the stage that lies behind, in [0, 1].
    """
    return stage.rate * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * done))


def _recalibrate(run: RunState, index: int, seed: int) -> None:
    """Let the method measure its running statistics anew, with the same batches in every process."""
    batch, count = run.stages[index].batch, min(RECALIBRATION, run.lengths[index])
    batches = (run.data.batch(seed, step, range(batch), run.method.variety) for step in range(count))
    run.method.recalibrate(batch.to(run.accelerator.device) for batch in batches)


def _try_average(
    run: RunState,
    stage: Stage,
    held: LabelledSlices,
    average: EMAModel,
    best: Best,
    step: int,
    recalibrate: Callable[[], None],
) -> None:
    """Score the average of the weights on labels held back; keep it if none was better."""
    weights = list(stage.module.parameters())
    average.store(weights)
    average.copy_to(weights)
    recalibrate()
    stage.module.eval()
    score = held_back_score(run.method, held)
    if run.accelerator.is_main_process and not held.colour:  # pictures lie otherwise, and in squares
        Glimpse.of(run.method, held, run.done + step).write(run.settings.folder)
    stage.module.train()
    if score is not None:
        run.scores.append((run.done + step, round(score, 4)))
        run.curves.add_scalar(f"{stage.name}/score", score, step)
        if score >= best.score:
            best.keep(score, stage.module)
    average.restore(weights)


def _share(batch: int, accelerator: Accelerator) -> range:
    """This process's positions in the global batch."""
    if batch % accelerator.num_processes:
        raise WssegError(f"{accelerator.num_processes} processes cannot share a batch of {batch} evenly")
    own = batch // accelerator.num_processes
    return range(own * accelerator.process_index, own * (accelerator.process_index + 1))


def _stage_seed(seed: int, index: int) -> int:
    return 1000 * seed + index


def _mean_losses(run: RunState, losses: dict[str, Tensor], stage: Stage, step: int) -> dict[str, float]:
    """The losses as means over all processes, which all have to call this."""
    values = {name: float(run.accelerator.reduce(loss.detach(), "mean")) for name, loss in losses.items()}
    if not all(map(math.isfinite, values.values())):
        raise WssegError(f"training diverged in stage {stage.name}, step {step}: the losses are {values}")
    return values


def _save(run: RunState, stage: int, step: int, optimizer: Any, average: EMAModel | None, best: Best) -> None:
    """Write the checkpoint; ``stage`` and ``step`` are the next to do."""
    run.save(
        Checkpoint(
            plan=run.plan(),
            method=run.method.state_dict(),
            stage=stage,
            step=step,
            carried=run.carried,
            seconds=run.elapsed(),
            origin=run.origin,
            optimizer=optimizer.state_dict() if optimizer else None,
            average=average.state_dict() if average else None,
            best=(best.score, best.state),
            curve=run.curve,
            scores=run.scores,
        )
    )
