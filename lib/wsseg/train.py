"""Scans and weak labels to a trained method: the one loop that all methods share."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from wsseg.card import model_card
from wsseg.data.slices import Batch, LabelledSlices, load_slices
from wsseg.errors import WssegError
from wsseg.evaluate import check_pixel_labels
from wsseg.labels import YES
from wsseg.methods.base import Method, Progress, Stage
from wsseg.methods.registry import adopt_parents, create_method, load_method, stored_weights
from wsseg.package import LICENCE, Metadata, ModelPackage, publish, read_package, write_package
from wsseg.segment import slices_per_pass
from wsseg.volume import PART, make_folder, whole_file

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"

LABELS = "labels.safetensors"
"""The pixel labels of the running stage, which the method made for itself."""

Preparing = Callable[[str, float], None]
"""Told what is being prepared and its finished part, in [0, 1]."""

WARM_UP = 100
"""Steps over which the learning rate rises from 0."""

REPORT_EVERY = 20
"""Steps between two updates of the progress file and the curves."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a run is carried out; what is learned stands in the method's settings.

    Attributes:
        folder: of this run; holds the checkpoint, ``train_stats.json`` and TensorBoard curves.
        seed: of weights, batches, noise and augmentation.
        origin: of the weights that training starts from, for the model card.
        facts: what else the card tells of the training: frozen parts, quality of labels.
        fresh: start from random weights, forget checkpoint and parent.
        steps: replaces each stage's default number of steps.
        save_every: seconds between checkpoints; a kill loses at most so much.
        mixed: bf16 where the hardware has it; off for exact comparisons.
        compile: fuse the networks with torch.compile, which needs a C++
            compiler; pays after some hundred steps (1.5 times on two cores).
    """

    folder: Path
    seed: int = 0
    origin: str = "random weights"
    facts: dict[str, str] = field(default_factory=dict)
    fresh: bool = False
    steps: int | None = None
    save_every: float = 120.0
    mixed: bool = True
    compile: bool = False


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
    done: int = 0
    total: int = 0
    origin: str = ""
    seconds: float = 0.0
    saved: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)

    @property
    def checkpoint(self) -> Path:
        return self.settings.folder / CHECKPOINT

    def elapsed(self) -> float:
        """Seconds of training, earlier runs included."""
        return self.seconds + time.monotonic() - self.started


def train_package(
    package: ModelPackage,
    data: Path,
    models: Path,
    settings: TrainSettings,
    report: Callable[[Stats], None] = lambda stats: None,
    preparing: Preparing = lambda what, part: None,
    check: Path | None = None,
) -> ModelPackage:
    """Train a package's method on a data folder and publish the result as a new version.

    Starts from the package's weights where it has any, or goes on from the
    checkpoint of an interrupted run.

    Args:
        models: the new version becomes ``models/<name>/<version>`` and CURRENT.
        report: told the state of training now and then.
        preparing: told what comes before training and its finished part.
        check: scans with masks, never trained on, against which the pixel
            labels are measured that the method makes for itself.
    """
    recipe = package.recipe
    licence = (
        (package.folder / LICENCE).read_text(encoding="utf-8")
        if (package.folder / LICENCE).exists()
        else recipe.licence
    )
    scratch = settings.fresh or not package.trained
    method = create_method(package, settings.seed) if scratch else load_method(package)
    adopted = adopt_parents(method, package, method.frozen if scratch else method.training_only)
    facts = _frozen_facts(package) | {f"frozen {part}": words for part, words in adopted.items()}
    slices = load_slices(data, package.labels, recipe.size, recipe.axis, partial(preparing, "reading scans"))
    if check:
        facts |= _checked(method, package, check, partial(preparing, "checking labels"))
    processes = PartialState(cpu=not torch.cuda.is_available())
    if processes.is_main_process:
        _clean_folder(settings)
    processes.wait_for_everyone()
    origin = "random weights" if scratch else package.metadata.version
    settings = replace(settings, origin=origin, facts=facts)
    outcome = train(method, slices, settings, report, preparing)
    stamp = f"{package.metadata.version.split('+')[0]}+{datetime.now():%Y%m%d.%H%M%S}"
    version: str = broadcast_object_list([stamp])[0]
    folder = models / package.name / version
    if processes.is_main_process:
        metadata = _trained_metadata(package, version, method, slices, settings, outcome)
        write_package(folder, metadata, stored_weights(method), model_card(package.name, metadata), licence)
        publish(models, package.name, version)
        for left in (CHECKPOINT, LABELS):
            (settings.folder / left).unlink(missing_ok=True)
    processes.wait_for_everyone()
    return read_package(folder, package.name)


def _frozen_facts(package: ModelPackage) -> dict[str, str]:
    """Where the frozen parts of a trained package came from, as it says itself."""
    return {key: value for key, value in package.recipe.trained.items() if key.startswith("frozen ")}


def _checked(method: Method, package: ModelPackage, folder: Path, progress: Progress) -> dict[str, str]:
    """The quality of the pixel labels a method makes for itself, logged and in words for the model card."""
    if type(method).pixel_labels is Method.pixel_labels:
        raise WssegError(
            f"--check: {package.recipe.method} makes no pixel labels for itself, there is nothing to check"
        )
    chunk = slices_per_pass(torch.device("cpu"), package.recipe.size)
    found = {}
    for row in check_pixel_labels(method, package, folder, chunk, progress):
        found[f"labels of {row.label}"] = f"precision {row.precision:.3f}, recall {row.recall:.3f}"
        log.info("pixel labels of %s on %s: %s", row.label, folder, found[f"labels of {row.label}"])
    return found


def _trained_metadata(
    package: ModelPackage,
    version: str,
    method: Method,
    data: LabelledSlices,
    settings: TrainSettings,
    outcome: Outcome,
) -> Metadata:
    """The parent's metadata with this training's facts; what was true of the parent's data is replaced."""
    content = package.metadata.model_dump(mode="json")
    content |= {
        "version": version,
        "changelog": {**package.metadata.changelog, version: f"trained from {outcome.origin}"},
        "data_source": f"{data.cases} scans that were named to `wsseg train`, with presence labels per slice.",
        "known_failures": "Not examined.",
        "ablation": "",
    }
    content["wsseg"] |= {
        "settings": method.settings.model_dump(mode="json"),
        "licence": "follows from the data it was trained on",
        "figures": [],
        "trained": {
            "scans": data.cases,
            "slices": len(data.images),
            "positive slices": int((data.presence == YES).any(dim=1).sum()),
            "seed": settings.seed,
            "started from": outcome.origin,
            **{f"stage {stage.name}": _in_words(stage, settings) for stage in method.stages()},
            "wall time": str(timedelta(seconds=int(outcome.seconds))),
            "hardware": _hardware(),
            **settings.facts,
        },
    }
    return Metadata.model_validate(content)


def _in_words(stage: Stage, settings: TrainSettings) -> str:
    return f"{settings.steps or stage.steps} steps of {stage.batch} slices, learning rate {stage.rate:g}"


def _hardware() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"CPU, {os.cpu_count()} cores"


def train(
    method: Method,
    data: LabelledSlices,
    settings: TrainSettings,
    report: Callable[[Stats], None] = lambda stats: None,
    preparing: Preparing = lambda what, part: None,
) -> Outcome:
    """Train all stages of a method in place; goes on from a checkpoint in the folder, unless ``fresh``.

    The result holds the exponential moving average of the weights after the
    last step: no mask and no validation score takes part in choosing it.

    Under ``torchrun`` every process takes its share of each step's samples, and
    the result is that of one process within rounding, where a loss is a mean
    over samples. CLDF's contrast looks at the pixels of its own process only.
    """
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    run = _Run(method, data, settings, accelerator, report, SummaryWriter(settings.folder / "curves"))
    stages = method.stages()
    run.origin = settings.origin
    run.total = sum(settings.steps or stage.steps for stage in stages)
    saved = None if settings.fresh else load_checkpoint(run.checkpoint)
    if saved:
        _restore(run, saved)
        run.seconds, run.origin = saved["seconds"], saved["origin"]
    method.to(accelerator.device)
    first = saved["stage"] if saved else 0
    for index, stage in enumerate(stages):
        length = settings.steps or stage.steps
        if index >= first:
            resumed = saved if saved and index == first and saved["step"] else None
            run.data = replace(data, pixels=_pixel_labels(run, stage, data, resumed is not None, preparing))
            _train_stage(run, index, stage, length, resumed)
        run.done += length
    method.requires_grad_(False).eval().cpu()
    _report(run, stages[-1], {}, finished=True)
    run.curves.close()
    return Outcome(run.origin, run.elapsed())


def _pixel_labels(run: _Run, stage: Stage, data: LabelledSlices, resumed: bool, preparing: Preparing) -> Tensor:
    """What a stage learns from; on a resume what it began with, as the weights have changed since."""
    if type(run.method).pixel_labels is Method.pixel_labels:
        return data.pixels
    file = run.settings.folder / LABELS
    if resumed:
        try:
            return load_file(file)["pixels"]
        except (OSError, SafetensorError) as error:
            raise WssegError(f"{file}: is missing or damaged; start again with --fresh") from error
    run.method.requires_grad_(False).eval()
    chunk = slices_per_pass(run.accelerator.device, data.images.shape[-1])
    with torch.no_grad():
        pixels = run.method.pixel_labels(stage, data, chunk, partial(preparing, f"labels for {stage.name}"))
    if run.accelerator.is_main_process:
        with whole_file(file) as part:
            save_file({"pixels": pixels}, part)
    run.accelerator.wait_for_everyone()
    return pixels


def _clean_folder(settings: TrainSettings) -> None:
    """Make the run's folder; remove what a kill left half-written, and with ``fresh`` the checkpoint."""
    make_folder(settings.folder)
    for part in settings.folder.glob(f"{PART}*"):
        part.unlink()
    if settings.fresh:
        for left in (CHECKPOINT, LABELS):
            (settings.folder / left).unlink(missing_ok=True)


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
    positive = int((run.data.presence == YES).sum())
    frozen = {part: words for part, words in run.settings.facts.items() if part.startswith("frozen ")}
    return {
        "seed": run.settings.seed,
        "steps": stages,
        "slices": len(run.data.images),
        "positive slices": positive,
        "frozen parts": frozen,
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


def _train_stage(run: _Run, index: int, stage: Stage, length: int, saved: dict[str, Any] | None) -> None:
    run.method.requires_grad_(False).eval()
    stage.module.requires_grad_(True).train()
    stage.module.to(memory_format=torch.channels_last)
    if run.settings.compile:
        stage.module.compile()
    weights = list(stage.module.parameters())
    optimizer = torch.optim.AdamW(weights, lr=stage.rate, weight_decay=1e-4)
    average = EMAModel(weights, decay=0.999, use_ema_warmup=True, power=0.75)
    mixed = run.settings.mixed and _has_bf16()
    objective, optimizer = run.accelerator.prepare(_Objective(run.method, stage, mixed), optimizer)
    begin = 0
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
        average.load_state_dict(saved["average"])
        begin = saved["step"]
    average.to(run.accelerator.device)
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
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == length:
            _report(run, stage, _mean_losses(run, losses, stage, step), step + 1)
        if time.monotonic() - run.saved > run.settings.save_every:
            _save(run, index, step + 1, optimizer, average)
    average.copy_to(weights)
    _save(run, index + 1, 0, None, None)
    run.accelerator.free_memory()


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


def _to_device(batch: Batch, accelerator: Accelerator) -> Batch:
    device = accelerator.device
    images = batch.images.to(device, memory_format=torch.channels_last)
    others = (batch.presence, batch.pixels, batch.noise, batch.uniform)
    return Batch(images, *(tensor.to(device) for tensor in others))


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
        "origin": run.origin,
        "plan": _plan(run),
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
    for name, loss in losses.items():
        run.curves.add_scalar(f"{stage.name}/{name}", loss, step)
    run.report(stats)
