"""The one loop that all methods share: steps, averages, checkpoints, progress."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from wsseg.data.slices import Batch, LabelledSlices
from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.inference.device import slices_per_pass
from wsseg.labels.space import YES
from wsseg.methods.base import Method, Stage
from wsseg.methods.prompt import Pass
from wsseg.models.record import SCRATCH, FrozenPart
from wsseg.training.pace import quickest

CHECKPOINT = "checkpoint.pt"


LABELS = "labels.safetensors"
"""The pixel labels of the running stage, which the method made for itself."""


Preparing = Callable[[str, float], None]
"""Told what is being prepared and its finished part, in [0, 1]."""


WARM_UP = 100
"""Steps over which the learning rate rises from 0."""


REPORT_EVERY = 20
"""Steps between two updates of the progress file and the curves."""


SETTLING = 50
"""Most batches over which running statistics are taken anew for averaged weights."""


SCORES = 5
"""Times a stage's average is scored on labels held back, its end included."""


CURVE = 200
"""Most points of a curve that the progress file holds."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a run is carried out; what is learned stands in the method's settings.

    Attributes:
        folder: of this run; holds the checkpoint, ``train_stats.json`` and TensorBoard curves.
        seed: of weights, batches, noise and augmentation.
        origin: of the weights that training starts from, for the model card.
        frozen: where the parts came from that are not trained.
        fresh: start from random weights, forget checkpoint and parent.
        steps: replaces each stage's default number of steps.
        minutes: of training; replaces the number of steps, each stage having its part of the time.
        finish: asked at every step whether to end each stage now, with the average as it is.
        save_every: seconds between checkpoints; a kill loses at most so much.
        mixed: bf16 where the hardware has it; off for exact comparisons.
        compile: fuse each stage's network with torch.compile, which needs a
            C++ compiler; pays after some hundred steps (1.5 times on two
            cores). Refused where a stage trains several networks at once.
        held_back: part of the patients that is not trained on. On their labels
            a stage's best average is chosen, and a result is published only if
            it is not worse than what it started from.
    """

    folder: Path
    seed: int = 0
    origin: str = SCRATCH
    frozen: Mapping[str, FrozenPart] = field(default_factory=dict)
    fresh: bool = False
    steps: int | None = None
    minutes: float | None = None
    finish: Callable[[], bool] = lambda: False
    save_every: float = 120.0
    mixed: bool = True
    compile: bool = False
    held_back: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """Where a finished run started from, and its seconds, those before a resume included."""

    origin: str
    seconds: float


@dataclass
class Stats:
    """What viewers poll while training runs (``train_stats.json``).

    ``epoch`` counts steps over all stages. ``total_time`` is there only when
    training has finished: MONAI Label's viewers take its presence as the end.
    ``curve`` holds pairs of step and sum of losses, ``scores`` pairs of step
    and score on the labels held back.
    """

    epoch: int
    total_epochs: int
    stage: str
    losses: dict[str, float]
    seconds: float
    curve: list[tuple[int, float]]
    scores: list[tuple[int, float]]
    total_time: str | None = None

    def write(self, path: Path) -> None:
        """Replace the file as a whole."""
        present = {key: value for key, value in asdict(self).items() if value is not None}
        with whole_file(path) as part:
            part.write_text(json.dumps(present))


class _Objective(nn.Module):
    """One stage as a module, so that DistributedDataParallel can wrap it."""

    def __init__(self, method: Method, stage: Stage, mixed: bool) -> None:
        super().__init__()
        self.method, self.stage, self.mixed = method, stage, mixed

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.mixed):
            return self.method.losses(self.stage, batch)


@dataclass
class _Run:
    """The state of one run: where it is and what it has spent."""

    method: Method
    data: LabelledSlices
    settings: TrainSettings
    accelerator: Accelerator
    report: Callable[[Stats], None]
    curves: SummaryWriter
    held: LabelledSlices | None = None
    curve: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    done: int = 0
    lengths: list[int] = field(default_factory=list)
    origin: str = ""
    seconds: float = 0.0
    saved: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)

    @property
    def checkpoint(self) -> Path:
        return self.settings.folder / CHECKPOINT

    @property
    def total(self) -> int:
        """Steps over all stages; under a time limit an estimate that gets better."""
        return sum(self.lengths)

    def part(self, index: int, step: int) -> float:
        """The part of a stage that lies behind after so many steps of it, 1 at its end; the same in every process."""
        passed = 1.0 if self.settings.finish() else self._passed(index, step)
        own = torch.tensor(passed, dtype=torch.float64, device=self.accelerator.device)
        part = min(1.0, max(0.0, float(broadcast(own))))
        if part > 0:
            self.lengths[index] = max(step, round(step / part))
        return part

    def _passed(self, index: int, step: int) -> float:
        """The part of a stage that lies behind, by steps, or by time where that is limited."""
        if self.settings.minutes is None:
            return step / self.lengths[index]
        lengths = [stage.steps for stage in self.method.stages()]
        begin, end = (60 * self.settings.minutes * sum(lengths[:k]) / sum(lengths) for k in (index, index + 1))
        return (self.elapsed() - begin) / (end - begin)

    def elapsed(self) -> float:
        """Seconds of training, earlier runs included."""
        return self.seconds + time.monotonic() - self.started


def held_back_score(method: Method, held: LabelledSlices) -> float | None:
    """How well a method meets labels that were held back, None where that cannot be told."""
    chunk = slices_per_pass(next(method.parameters()).device, held.images.shape[-1])
    with torch.no_grad():
        found = method.score(held, chunk)
    return None if math.isnan(found) else found


def train(
    method: Method,
    data: LabelledSlices,
    settings: TrainSettings,
    report: Callable[[Stats], None] = lambda stats: None,
    preparing: Preparing = lambda what, part: None,
    held: LabelledSlices | None = None,
) -> Outcome:
    """Train all stages of a method in place; goes on from a checkpoint in the folder, unless ``fresh``.

    The result holds the exponential moving average of the weights after the
    last step, or with ``held`` the average that scores best on those labels:
    no mask takes part in choosing it.

    Under ``torchrun`` every process takes its share of each step's samples, and
    the result is that of one process within rounding, where a loss is a mean
    over samples. CLDF's contrast looks at the pixels of its own process only.
    """
    torch.set_flush_denormal(True)  # those of a network that is sure make steps ten times slower
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    run = _Run(method, data, settings, accelerator, report, SummaryWriter(settings.folder / "curves"), held)
    stages = method.stages()
    run.origin = settings.origin
    run.lengths = [settings.steps or stage.steps for stage in stages]
    saved = None if settings.fresh else load_checkpoint(run.checkpoint)
    if saved:
        _restore(run, saved)
        run.seconds, run.origin = saved["seconds"], saved["origin"]
        run.curve, run.scores = saved["curve"], saved["scores"]
    method.to(accelerator.device)
    first = saved["stage"] if saved else 0
    for index, stage in enumerate(stages):
        if index >= first:
            resumed = saved if saved and index == first and saved["step"] else None
            run.data = data.with_pixels(_pixel_labels(run, stage, data, resumed is not None, preparing))
            _train_stage(run, index, stage, resumed)
        run.done += run.lengths[index]
    method.requires_grad_(False).eval().cpu()
    _report(run, stages[-1], {}, finished=True)
    run.curves.close()
    return Outcome(run.origin, run.elapsed())


def _pixel_labels(run: _Run, stage: Stage, data: LabelledSlices, resumed: bool, preparing: Preparing) -> Tensor:
    """What a stage learns from; on a resume what it began with, as the weights have changed since."""
    if type(run.method).pixel_labels is Method.pixel_labels:
        return data.targets.pixels
    file = run.settings.folder / LABELS
    if resumed:
        try:
            return load_file(file)["pixels"]
        except (OSError, SafetensorError) as error:
            raise WssegError(f"{file}: is missing or damaged; start again with --fresh") from error
    run.method.requires_grad_(False).eval()
    chunk = slices_per_pass(run.accelerator.device, data.images.shape[-1])
    with torch.no_grad():
        pixels = run.method.pixel_labels(
            stage, data, Pass(chunk, progress=partial(preparing, f"labels for {stage.name}"))
        )
    if run.accelerator.is_main_process:
        with whole_file(file) as part:
            save_file({"pixels": pixels}, part)
    run.accelerator.wait_for_everyone()
    return pixels


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state an interrupted run left, read without unpickling code."""
    if not path.exists():
        return None
    try:
        return cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
        raise WssegError(f"{path}: the checkpoint is damaged; start again with --fresh") from error


def _plan(run: _Run) -> dict[str, Any]:
    """What must not change between the parts of an interrupted run."""
    stages = {stage.name: run.settings.steps or stage.steps for stage in run.method.stages()}
    positive = int((run.data.targets.presence == YES).sum())
    return {
        "seed": run.settings.seed,
        "steps": stages,
        "held back": run.settings.held_back,
        "slices": len(run.data.images),
        "positive slices": positive,
        "frozen parts": {f"frozen {name}": f"{part}" for name, part in run.settings.frozen.items()},
        **{f"settings.{key}": value for key, value in run.method.settings.model_dump(mode="json").items()},
    }


def _restore(run: _Run, saved: dict[str, Any]) -> None:
    plan = _plan(run)
    other = [key for key, value in plan.items() if saved["plan"].get(key) != value]
    if other:
        told = ", ".join(f"{key} {saved['plan'].get(key)} then, {plan[key]} now" for key in other)
        raise WssegError(f"{run.checkpoint}: was interrupted under other terms ({told}); start again with --fresh")
    try:
        run.method.load_state_dict(saved["method"])
    except RuntimeError as error:
        raise WssegError(f"{run.checkpoint}: is of another network; start again with --fresh") from error


def _has_bf16() -> bool:
    """Whether the hardware computes in bf16: a recent GPU, or a CPU with AVX512-BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _train_stage(run: _Run, index: int, stage: Stage, saved: dict[str, Any] | None) -> None:
    run.method.requires_grad_(False).eval()
    stage.module.requires_grad_(True).train()
    stage.module.to(memory_format=torch.channels_last)
    if run.settings.compile:
        if isinstance(stage.module, nn.ModuleList):  # its own forward, which is what would be fused, is never called
            raise WssegError(f"--compile: stage {stage.name} trains several networks at once, leave it out")
        stage.module.compile()
    weights = list(stage.module.parameters())
    optimizer = torch.optim.AdamW(weights, lr=stage.rate, weight_decay=1e-4)
    average = EMAModel(weights, decay=0.999, use_ema_warmup=True, power=0.75)
    mixed = run.settings.mixed and _has_bf16()
    objective, optimizer = run.accelerator.prepare(_Objective(run.method, stage, mixed), optimizer)
    begin, best = 0, _Best()
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
        average.load_state_dict(saved["average"])
        begin, best = saved["step"], _Best(*saved["best"])
    average.to(run.accelerator.device)
    share = _share(stage.batch, run.accelerator)
    seed, variety = _stage_seed(run.settings.seed, index), run.method.variety
    settle = partial(_settle, run, stage, seed, min(SETTLING, run.lengths[index]))
    if run.settings.minutes is not None and run.accelerator.device.type == "cpu" and run.accelerator.num_processes == 1:
        objective.mixed = quickest(partial(_try_step, objective, run.data.batch(seed, begin, share, variety)), mixed)
        optimizer.zero_grad()
    step, done = begin, run.part(index, begin)
    while done < 1:
        batch = run.data.batch(seed, step, share, variety, done).to(run.accelerator.device)
        for group in optimizer.param_groups:
            group["lr"] = stage.rate * min(1.0, (step + 1) / WARM_UP) * _fading(stage, done)
        losses = objective(batch)
        run.accelerator.backward(torch.stack(list(losses.values())).sum())
        run.accelerator.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(weights)
        step, before, done = step + 1, done, run.part(index, step + 1)
        if step % REPORT_EVERY == 0 or done >= 1:
            _report(run, stage, _mean_losses(run, losses, stage, step), step)
        if run.held is not None and min(SCORES, int(done * SCORES)) > int(before * SCORES):
            _try_average(run, stage, run.held, average, best, step, settle)
        if time.monotonic() - run.saved > run.settings.save_every:
            _save(run, index, step, optimizer, average, best)
    average.copy_to(weights)
    if not best.state:
        settle()
    best.restore(stage.module)
    _save(run, index + 1, 0, None, None, best)
    run.accelerator.free_memory()


def _try_step(objective: _Objective, batch: Batch, mixed: bool) -> None:
    """Forward and backward, to be timed."""
    objective.mixed = mixed
    torch.stack(list(objective(batch).values())).sum().backward()


def _fading(stage: Stage, done: float) -> float:
    """Part of the stage's learning rate that is left: half a cosine (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * done)) if stage.fading else 1.0


@dataclass
class _Best:
    """The average that has met the labels held back best so far; of equals the last."""

    score: float = -1.0
    state: list[Tensor] = field(default_factory=list)

    def keep(self, score: float, module: nn.Module) -> None:
        """Take over a module's weights with its running statistics, which belong to them."""
        self.score, self.state = score, [tensor.detach().clone() for tensor in _state_of(module)]

    def restore(self, module: nn.Module) -> None:
        """Put it back into the module, if there was any."""
        for tensor, kept in zip(_state_of(module), self.state, strict=bool(self.state)):
            tensor.data.copy_(kept)


def _state_of(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _settle(run: _Run, stage: Stage, seed: int, count: int) -> None:
    """Let the method measure its running statistics anew, with the same batches in every process."""
    batches = (run.data.batch(seed, step, range(stage.batch), run.method.variety) for step in range(count))
    run.method.settle(batch.to(run.accelerator.device) for batch in batches)


def _try_average(
    run: _Run,
    stage: Stage,
    held: LabelledSlices,
    average: EMAModel,
    best: _Best,
    step: int,
    settle: Callable[[], None],
) -> None:
    """Score the average of the weights on labels held back; keep it if none was better."""
    weights = list(stage.module.parameters())
    average.store(weights)
    average.copy_to(weights)
    settle()
    stage.module.eval()
    score = held_back_score(run.method, held)
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


def _mean_losses(run: _Run, losses: dict[str, Tensor], stage: Stage, step: int) -> dict[str, float]:
    """The losses as means over all processes, which all have to call this."""
    values = {name: float(run.accelerator.reduce(loss.detach(), "mean")) for name, loss in losses.items()}
    if not all(map(math.isfinite, values.values())):
        raise WssegError(f"training diverged in stage {stage.name}, step {step}: the losses are {values}")
    return values


def _save(run: _Run, stage: int, step: int, optimizer: Any, average: EMAModel | None, best: _Best) -> None:
    """Write the checkpoint as a whole; ``stage`` and ``step`` are the next to do."""
    run.saved = time.monotonic()
    if not run.accelerator.is_main_process:
        return
    state = {
        "method": run.method.state_dict(),
        "stage": stage,
        "step": step,
        "seconds": run.elapsed(),
        "origin": run.origin,
        "plan": _plan(run),
        "optimizer": optimizer.state_dict() if step else None,
        "average": average.state_dict() if average and step else None,
        "best": (best.score, best.state),
        "curve": run.curve,
        "scores": run.scores,
    }
    with whole_file(run.checkpoint) as part:
        torch.save(state, part)


def _report(run: _Run, stage: Stage, losses: dict[str, float], step: int = 0, finished: bool = False) -> None:
    if not run.accelerator.is_main_process:
        return
    took = run.elapsed()
    total_time = str(timedelta(seconds=int(took))) if finished else None
    if losses:
        run.curve.append((run.done + step, round(sum(losses.values()), 5)))
        run.curve[:] = run.curve[:: 1 + len(run.curve) // CURVE]
    stats = Stats(run.done + step, run.total, stage.name, losses, round(took, 1), run.curve, run.scores, total_time)
    stats.write(run.settings.folder / "train_stats.json")
    for name, loss in losses.items():
        run.curves.add_scalar(f"{stage.name}/{name}", loss, step)
    run.report(stats)
