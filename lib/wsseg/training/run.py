"""Scans and weak labels to a trained package, published if it is not worse than before."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from wsseg.data.kinds.registry import PRESENCE, Kinds
from wsseg.data.kinds.unmatched import unmatched
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, held_back_cases, load_slices
from wsseg.errors import WssegError
from wsseg.evaluation.pixel_labels import check_pixel_labels
from wsseg.files import PART, make_folder
from wsseg.inference.device import slices_per_pass
from wsseg.labels.space import YES
from wsseg.methods.base import Method
from wsseg.methods.prompt import Pass, Progress
from wsseg.methods.registry import (
    BACKBONES,
    adopt_parents,
    begin_with_parents,
    create_method,
    load_method,
    stored_weights,
)
from wsseg.models.card import model_card
from wsseg.models.package import LICENCE, Metadata, ModelPackage, read_package, write_package
from wsseg.models.record import SCRATCH, LabelQuality, StageRecord, TrainingRecord
from wsseg.models.shelf import find_package, parent_licences, publish
from wsseg.training.assessment.assess import assess
from wsseg.training.assessment.masks import Found, found_of
from wsseg.training.best import held_back_score
from wsseg.training.checkpoint import CHECKPOINT, LABELS
from wsseg.training.loop import Outcome, train
from wsseg.training.planning.first import planned
from wsseg.training.planning.plan import PLAN
from wsseg.training.progress import Phase, Report, TrainingProgress, Wish, preparing
from wsseg.training.settings import TrainSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A new version, and what became of it.

    Attributes:
        package: as written.
        published: whether it is CURRENT now.
        before: score of the version it started from on the labels held back;
            None where there was none or nothing could be told.
        score: its own.
        message: one sentence for people.
    """

    package: ModelPackage
    published: bool
    before: float | None
    score: float | None
    message: str


def train_package(
    package: ModelPackage,
    data: Path,
    models: Path,
    settings: TrainSettings,
    report: Report = lambda progress: None,
    check: Path | None = None,
    use: Kinds = (),
    job: str = "",
    wish: Callable[[], Wish] = lambda: Wish.GO_ON,
) -> Trained:
    """Train a package's method on a data folder and publish the result as a new version.

    Starts from the package's weights where it has any, or goes on from the
    checkpoint of an interrupted run. Frozen parts whose package has been
    trained anew meanwhile are taken over from it.

    Args:
        models: the new version becomes ``models/<name>/<version>``, and CURRENT
            unless it is worse on labels held back.
        report: told how far it is, from reading scans to publishing.
        check: scans with masks, never trained on, against which the pixel
            labels are measured that the method makes for itself.
        use: kinds of labels to learn from; by default all that the method can.
        job: of the server that this is done for.
        wish: see :func:`wsseg.training.loop.train`.
    """
    package = planned(package, data, use, settings)
    recipe = package.recipe
    scratch = settings.fresh or not package.trained
    method = create_method(package, settings.seed) if scratch else load_method(package, training=True)
    begun = begin_with_parents(method, package) if scratch else {}
    adopted = adopt_parents(method, package, method.frozen if scratch else _stale_parts(method, package))
    frozen = (recipe.training.frozen if recipe.training else {}) | adopted
    reading = preparing(report, "reading scans", wish)
    kinds = _usable(method, use)
    slices = load_slices(data, package.labels, View.of(recipe), kinds, () if use else method.heeds, reading)
    for sentence in filter(None, (kind.reading(slices.targets, package.labels) for kind in slices.kinds)):
        log.info(sentence)
    for sentence in unmatched(data, kinds, package.labels):
        log.warning(sentence)
    method.meet(slices)
    slices, held = _hold_back(slices, settings.held_back, package)
    chunk = slices_per_pass(torch.device("cpu"), recipe.size, method.pixel_bytes)
    checking = preparing(report, "checking labels", wish)
    quality = _checked(method, package, check, chunk, checking) if check else {}
    processes = PartialState(cpu=not torch.cuda.is_available())
    if processes.is_main_process:
        _clean_folder(settings)
    processes.wait_for_everyone()
    begun_with = " and ".join(f"{part.package} {part.version}" for part in begun.values())
    origin = begun_with or SCRATCH if scratch else package.metadata.version
    if settings.steps is None and settings.minutes is None:
        settings = replace(settings, minutes=method.minutes)
    settings = replace(settings, origin=origin, frozen=frozen, begun=begun)
    reports = _Reports(report)
    outcome = train(method, slices, settings, reports, held, wish)
    reports.publishing(0)
    publishing = Pass(chunk, progress=reports.publishing)
    parts = 3 if method.finds_pieces else 1
    method.fit_thresholds(slices, publishing.step(0, parts))
    before, score = _compare(method, None if scratch else package, held)
    stamp = f"{package.metadata.version.split('+')[0]}+{datetime.now():%Y%m%d.%H%M%S}"
    version: str = broadcast_object_list([stamp])[0]
    folder = models / package.name / version
    nowhere: list[str] = []
    if processes.is_main_process:
        record = _record(method, slices, settings, outcome).model_copy(
            update={
                "score": _rounded(score),
                "before": _rounded(before),
                "begun": begun or (recipe.training.begun if recipe.training else {}),
                "pixel_labels": quality,
                "job": job,
            }
        )
        found = (
            found_of(method, slices, publishing.step(1, parts))
            if method.finds_pieces
            else Found(recipe.largest_component, ())
        )
        nowhere = [package.labels.names[k] for k in found.nowhere]
        metadata = _trained_metadata(package, version, method, slices, record, found.in_one_piece)
        card, licence = model_card(package.name, metadata), _licence(package, metadata)
        write_package(folder, metadata, stored_weights(method), card, licence)
        if recipe.method not in BACKBONES:
            assess(folder, method.eval(), data, slices.cases, held, publishing.step(parts - 1, parts).progress)
        if not _is_worse(before, score):
            publish(models, package.name, version)
        for left in (CHECKPOINT, LABELS, PLAN):
            (settings.folder / left).unlink(missing_ok=True)
    processes.wait_for_everyone()
    worse = _is_worse(before, score)
    message = _in_a_sentence(version, before, score, settings.held_back)
    if (carried := sum(outcome.carried)) < outcome.steps:
        message += f"; training was finished after {carried} of {outcome.steps} steps"
    if nowhere:
        message += f"; {' and '.join(nowhere)} in no mask of the training scans: train for longer"
    return Trained(read_package(folder, package.name), not worse, before, score, message)


def _usable(method: Method, use: Kinds) -> Kinds:
    """The kinds of labels that are learned from.

    Raises:
        WssegError: one is asked for that the method does not learn from.
    """
    for kind in use:
        if kind not in method.learns_from:
            able = ", ".join(each.name for each in method.learns_from) or "images alone"
            raise WssegError(f"--use {kind.name}: this model learns from {able}")
    return use or method.learns_from


def _licence(package: ModelPackage, trained: Metadata) -> str:
    """The text of a version's licence: what somebody wrote into the package, or what its metadata says."""
    file = package.folder / LICENCE
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    own = text.strip() not in ("", package.recipe.licence)
    return text if own else f"{trained.wsseg.licence}\n"


class _Reports:
    """Passes reports on, and keeps the last one: what is published is as far as it came."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = TrainingProgress()

    def __call__(self, progress: TrainingProgress) -> None:
        self._last = progress
        self._report(progress)

    def publishing(self, part: float) -> None:
        """Tell that training is over, and what part is done of comparing and publishing its result."""
        state = {"phase": Phase.PUBLISHING, "prepared": part, "seconds_left": None}
        self._report(self._last.model_copy(update=state))


def _hold_back(
    slices: LabelledSlices, part: float, package: ModelPackage
) -> tuple[LabelledSlices, LabelledSlices | None]:
    """The slices to train on, and those held back: none where too few scans remain to learn all classes from."""
    held = held_back_cases(slices.cases, part)
    if not held:
        return slices, None
    kept = slices.only(set(slices.cases) - held)
    try:
        kept.check(package.labels)
    except WssegError:
        return slices, None
    return kept, slices.only(held)


def _compare(
    method: Method, parent: ModelPackage | None, held: LabelledSlices | None
) -> tuple[float | None, float | None]:
    """Scores of the parent and of the trained method on the same labels held back; None where nothing can be told."""
    if held is None:
        return None, None
    before = None if parent is None else held_back_score(load_method(parent), held)
    return before, held_back_score(method, held)


def _is_worse(before: float | None, score: float | None) -> bool:
    return before is not None and score is not None and score < before


def _in_a_sentence(version: str, before: float | None, score: float | None, held_back: float) -> str:
    if score is None:
        many = "too few" if held_back else "no"
        return (
            f"{version} is in use; {many} labels were held back to compare it, so how good it is nobody knows:"
            " `wsseg evaluate` tells on scans with masks"
        )
    if before is None:
        return f"{version} is in use; it scores {score:.3f} on the labels held back"
    told = f"{score:.3f} on the labels held back, {before:.3f} before"
    if score < before:
        return f"{version} is kept but not in use, it is worse: {told}"
    return f"{version} is in use: {told}"


def _stale_parts(method: Method, package: ModelPackage) -> list[str]:
    """Frozen parts to be taken from their packages anew: those left out of this one, and those trained since."""
    taken = package.recipe.training.frozen if package.recipe.training else {}
    stale = []
    for part, parent in package.recipe.parents.items():
        if part not in method.frozen:
            continue
        recorded = taken[part].sha256 if part in taken else None
        if part in method.training_only or find_package(parent.package).checksum() != recorded:
            stale.append(part)
    return stale


def _checked(
    method: Method, package: ModelPackage, folder: Path, chunk: int, progress: Progress
) -> dict[str, LabelQuality]:
    """The quality of the pixel labels a method makes for itself, by class, logged."""
    if not any(stage.makes_labels for stage in method.stages()):
        raise WssegError(
            f"--check: {package.recipe.method} makes no pixel labels for itself, there is nothing to check"
        )
    found = check_pixel_labels(method, package, folder, chunk, progress)
    for name, quality in found.items():
        log.info("pixel labels of %s on %s: %s", name, folder, quality)
    return found


def _trained_metadata(
    package: ModelPackage,
    version: str,
    method: Method,
    data: LabelledSlices,
    record: TrainingRecord,
    largest_component: bool,
) -> Metadata:
    """The parent's metadata with this training's facts; what was true of the parent's data is replaced."""
    content = package.metadata.model_dump(mode="json")
    content |= {
        "version": version,
        "changelog": {**package.metadata.changelog, version: f"trained from {record.origin}"},
        "data_source": f"{len(data.cases)} scans named to `wsseg train`, learned from {_names(data.kinds)}.",
        "known_failures": "Not examined.",
        "ablation": "",
    }
    content["wsseg"] |= {
        "settings": method.settings.model_dump(mode="json"),
        "licence": "; ".join(
            [*parent_licences(package.recipe.parents.values()), "follows from the data it was trained on"]
        ),
        "figures": [],
        "largest_component": largest_component,
        "training": record.model_dump(mode="json"),
    }
    return Metadata.model_validate(content)


def _record(method: Method, data: LabelledSlices, settings: TrainSettings, outcome: Outcome) -> TrainingRecord:
    return TrainingRecord(
        scans=len(data.cases),
        slices=len(data.images),
        labelled={kind.name: int(kind.bears(data.targets).sum()) for kind in data.kinds},
        positive=int((data.targets.presence == YES).any(dim=1).sum()) if PRESENCE in data.kinds else None,
        seed=settings.seed,
        origin=outcome.origin,
        stages={
            stage.name: StageRecord(steps=steps, batch=stage.batch, rate=stage.rate)
            for stage, steps in zip(method.stages(), outcome.carried, strict=True)
        },
        seconds=round(outcome.seconds, 1),
        hardware=_hardware(),
        frozen=dict(settings.frozen),
    )


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _names(kinds: Kinds) -> str:
    return ", ".join(kind.name for kind in kinds) or "images alone"


def _hardware() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"
    return f"CPU, {os.cpu_count()} cores"


def _clean_folder(settings: TrainSettings) -> None:
    """Make the run's folder; remove what a kill left half-written, and with ``fresh`` the checkpoint."""
    make_folder(settings.folder)
    for part in settings.folder.glob(f"{PART}*"):
        part.unlink()
    if settings.fresh:
        for left in (CHECKPOINT, LABELS, PLAN):
            (settings.folder / left).unlink(missing_ok=True)
