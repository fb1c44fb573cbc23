"""Dice against annotation minutes: the union learner from each kind of label, and from several at once.

Every row makes a new model as `wsseg new` does, trains it from the named
kinds of labels alone for the same minutes, and scores it on scans that training
never saw: whole volumes, nothing given, mean over classes of each scan. In
brackets stands the median bias of a class's volume; seconds are of training.

    python benchmarks/methods/union.py TASK... --run DIR [--minutes 15 | --steps N] [--seeds 3]
        [--use scribbles,boxes,points] [--start union-heart-cine | --start ""] [--only CLASS] [--scans 5]

Training begins with the weights of `union-start`, as every new model's, unless
another package is named, or none: it has learned from the training scans of some
tasks. Minutes are what people wait; steps give the same model on a machine that
does other things too.

With ``--only`` everything but one class is as if nobody had drawn it: a user's own organ, among others
that look alike. ``--scans`` trains on the first so many.

A task is a folder with `train` and `val`; class names are the columns of its
`train/image_labels.csv`, the modality is CT where the folder's name says so.
Every training leaves a small file in the run folder, so an interrupted
benchmark goes on where it was.

Seconds a label takes: a point 2.4, presence 1 a class and slice, strokes 17 a
class and slice, a mask 78 (Bearman et al. 2016, tables 1 and 2); a box 7
(Papadopoulos et al. 2017).
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
from common import interval, kept
from rich.progress import Progress

from wsseg.data.kinds.registry import KINDS, kinds_named
from wsseg.evaluation.cases import load_cases
from wsseg.evaluation.metrics import dice_of
from wsseg.files import make_folder
from wsseg.images.folder import ENDINGS, drawn_beside, scan_files
from wsseg.images.formats.table import read_grid
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.space import BACKGROUND, LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, classes_in
from wsseg.models.package import ModelPackage, Parent
from wsseg.training.planning.new import new_package
from wsseg.training.run import train_package
from wsseg.training.settings import TrainSettings

SECONDS = {"presence": 1.0, "points": 2.4, "boxes": 7.0, "scribbles": 17.0, "masks": 78.0}
"""Of one class on one slice; sentences are not timed."""


@dataclass(frozen=True)
class Score:
    """Of one training.

    Attributes:
        dice: (scans, classes) of whole volumes.
        bias: (scans, classes) volume of the mask against that of the reference, less 1.
        seconds: of the training.
    """

    dice: list[list[float]]
    bias: list[list[float]]
    seconds: float


def train_and_score(task: Path, use: str, start: str, minutes: float | None, steps: int | None, seed: int) -> Score:
    """One training, begun with the weights of a package, if any, and its Dice on the task's val."""
    labels = classes_of(task)
    kinds, modality = kinds_named(use.split("+")), modality_of(task)
    with TemporaryDirectory(prefix="wsseg-union-") as name:
        models = Path(name)
        package = _beginning_with(start, new_package("union-benchmark", labels.names, modality, models))
        settings = TrainSettings(folder=models / "run", seed=seed, minutes=minutes, steps=steps)
        began = time.monotonic()
        trained = train_package(package, task / "train", models, settings, use=kinds).package
        seconds = time.monotonic() - began
        return _scored(Segmenter(trained.folder), task / "val", seconds)


def _beginning_with(start: str, package: ModelPackage) -> ModelPackage:
    others = {part: parent for part, parent in package.recipe.parents.items() if part != "network"}
    begun = {"network": Parent(package=start, part="network")} if start else {}
    recipe = package.recipe.model_copy(update={"parents": others | begun})
    return replace(package, metadata=package.metadata.model_copy(update={"wsseg": recipe}))


def _scored(segmenter: Segmenter, folder: Path, seconds: float) -> Score:
    dice, bias = [], []
    for case in load_cases(folder, segmenter.package.labels, segmenter.package.recipe.axis):
        mask = segmenter(case.scan).mask.voxels
        pairs = [(mask == value, case.reference == value) for value in segmenter.package.labels.values().values()]
        dice.append([dice_of(found, truth) for found, truth in pairs])
        bias.append([float(found.sum() / truth.sum() - 1) if truth.any() else math.nan for found, truth in pairs])
    return Score(dice, bias, seconds)


def in_part(task: Path, only: str, scans: int | None, folder: Path) -> Path:
    """A task of the first scans of another, and of one of its classes if one is named, in a folder."""
    names = classes_of(task).names
    value = names.index(only) + 1 if only else 0
    for part in ("train", "val"):
        (folder / part).mkdir()
        files = list(scan_files(task / part).items())
        kept = dict(files[:scans] if part == "train" else files)
        for case, file in kept.items():
            (folder / part / file.name).symlink_to(file.resolve())
            for drawn in filter(None, (drawn_beside(file.parent, case, ending) for ending in ENDINGS)):
                image = nibabel.load(drawn)
                voxels = np.asanyarray(image.dataobj)
                one = np.where(voxels == value, 1, np.where(voxels == BACKGROUND, BACKGROUND, 0)).astype(np.uint8)
                nibabel.save(nibabel.Nifti1Image(one if only else voxels, image.affine), folder / part / drawn.name)
        for table in (task / part).glob("*.csv"):
            _write_part(table, folder / part / table.name, kept, set(names) - {only} if only else set())
    return folder


def _write_part(table: Path, out: Path, cases: Collection[str], left_out: Collection[str]) -> None:
    """The rows of a table on some scans, without classes that are left out."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = [name for name in reader.fieldnames or () if name not in left_out]
        rows = [row for row in reader if row["case"] in cases and row.get("label") not in left_out]
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def classes_of(task: Path) -> LabelSpace:
    """The classes of a task, as its table of presence names them."""
    return classes_in(task / "train" / PRESENCE_FILE)


def modality_of(task: Path) -> str:
    """What a task's scans are, told from its folder's name."""
    return "CT" if task.name.lower().endswith("ct") else "MR"


def annotation_minutes(task: Path, use: str) -> float:
    """What the labels of the named kinds have cost, by counting classes and slices that bear them."""
    folder, labels = task / "train", classes_of(task)
    scans, seconds = scan_files(folder), 0.0
    for name in use.split("+"):
        for case, given in KINDS[name].in_folder(folder, scans, labels).items():
            presence = KINDS[name].stored(given, read_grid(scans[case]), labels)
            drawn = presence.pixels.flatten(1)
            marked = sum(int((drawn == k + 1).any(dim=1).sum()) for k in range(len(labels)))
            known = presence.presence >= 0 if name == "presence" else presence.presence == 1
            seconds += SECONDS[name] * (marked or int(known.sum()))
    return seconds / 60


def main() -> None:
    """Run what is left to be done and print a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path, nargs="+")
    parser.add_argument("--run", type=Path, required=True)
    exclusive = parser.add_mutually_exclusive_group()
    exclusive.add_argument("--minutes", type=float)
    exclusive.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--use", default="scribbles,boxes,points,points+boxes+scribbles")
    parser.add_argument("--start", default="union-start")
    parser.add_argument("--only", default="")
    parser.add_argument("--scans", type=int)
    asked = parser.parse_args()
    make_folder(asked.run)
    if asked.only or asked.scans:
        with TemporaryDirectory(prefix="wsseg-part-") as name:
            parts = []
            for task in asked.task:
                make_folder(part := Path(name) / f"{asked.only.replace(' ', '-')}-{asked.scans or 'all'}-{task.name}")
                parts.append(in_part(task, asked.only, asked.scans, part))
            run(asked, parts)
    else:
        run(asked, asked.task)


def run(asked: argparse.Namespace, tasks: Sequence[Path]) -> None:
    """Train what has not been yet, and print."""
    minutes = 15.0 if asked.minutes is None and asked.steps is None else asked.minutes
    length = f"{asked.steps} steps" if minutes is None else f"{minutes:g} minutes"
    rows = [(task, use, seed) for task in tasks for use in asked.use.split(",") for seed in range(asked.seeds)]
    found: dict[tuple[Path, str], list[Score]] = {}
    with Progress() as bar:
        for task, use, seed in bar.track(rows, description="training"):
            file = asked.run / f"{task.name}-{use}-{asked.start or 'random'}-{length.replace(' ', '-')}-{seed}.json"
            score = kept(file, Score, train_and_score, task, use, asked.start, minutes, asked.steps, seed)
            found.setdefault((task, use), []).append(score)
    for task in tasks:
        print(f"\n{task.name}, {length} of training from {asked.start or 'random weights'}, {asked.seeds} seeds\n")
        names = classes_of(task).names
        print(f"| labels | annotation, minutes | {' | '.join(names)} | mean | 95 % over patients | seconds |")
        print("|" + "---|" * (5 + len(names)))
        for use in asked.use.split(","):
            scores = found[task, use]
            dice, bias = (np.mean([getattr(score, name) for score in scores], axis=0) for name in ("dice", "bias"))
            low, high = interval(dice.mean(axis=1))
            cells = " | ".join(
                f"{value:.3f} ({100 * extra:+.0f} %)"
                for value, extra in zip(dice.mean(axis=0), np.nanmedian(bias, axis=0), strict=True)
            )
            cost = annotation_minutes(task, use)
            seconds = np.mean([score.seconds for score in scores])
            print(f"| {use} | {cost:.0f} | {cells} | {dice.mean():.3f} | {low:.3f} to {high:.3f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
