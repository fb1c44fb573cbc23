"""Dice against annotation minutes: the union learner from each kind of label, and from several at once.

Every row makes a new model as `wsseg new` does, trains it from the named
kinds of labels alone for the same minutes, and scores it on scans that training
never saw: whole volumes, nothing given, mean over classes of each scan. In
brackets stands the median bias of a class's volume; seconds are of training.

    python benchmarks/methods/union.py TASK... --run DIR [--minutes 15 | --steps N] [--seeds 3]
        [--use scribbles,boxes:5,points:8+boxes:-4] [--start union-heart-cine | --start ""] [--only CLASS]

Training begins with the weights of `union-start`, as every new model's, unless
another package is named, or none: it has learned from the training scans of some
tasks. Minutes are what people wait; steps give the same model on a machine that
does other things too.

A row of ``--use`` is one kind of label, or several joined by +; ``:5`` takes those of the first five scans
alone, ``:-4`` those of the last four, so that rows can cost the same minutes. Scans without any are left out.
With ``--only`` everything but one class is as if nobody had drawn it: a user's own organ, among others
that look alike.

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
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
from common import interval, kept
from rich.progress import Progress

from wsseg.data.kinds.base import LabelKind
from wsseg.data.kinds.registry import KINDS, PRESENCE
from wsseg.errors import WssegError
from wsseg.evaluation.cases import load_cases
from wsseg.evaluation.metrics import dice_of
from wsseg.files import make_folder
from wsseg.images.folder import ENDINGS, drawn_beside, scan_files
from wsseg.images.formats.table import read_grid
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.space import BACKGROUND, LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, classes_in
from wsseg.models.package import ModelPackage, Parent
from wsseg.spreadsheets import read_table
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


@dataclass(frozen=True)
class Share:
    """Labels of one kind, of all scans or of some.

    Attributes:
        kind: of label.
        scans: the first so many, below 0 the last; None for all.
    """

    kind: LabelKind[Any]
    scans: int | None = None

    def of(self, cases: Sequence[str]) -> Sequence[str]:
        """The cases that have them."""
        return cases[self.scans :] if self.scans is not None and self.scans < 0 else cases[: self.scans]


def shares(use: str) -> list[Share]:
    """What a row learns from: ``points:8+boxes:-4``."""
    found = re.findall(r"(\w+)(?::(-?[1-9]\d*))?(?:\+|$)", use)
    names = [name for name, _ in found]
    whole = "+".join(f"{name}:{scans}" if scans else name for name, scans in found)
    if not names or whole != use or len({*names}) < len(names) or not KINDS.keys() >= {*names}:
        raise WssegError(f"--use {use}: must be kinds of labels, each once, joined by +, as in points:8+boxes:-4")
    return [Share(KINDS[name], int(scans) if scans else None) for name, scans in found]


def train_and_score(
    task: Path, use: str, only: str, start: str, minutes: float | None, steps: int | None, seed: int
) -> Score:
    """One training, begun with the weights of a package, if any, and its Dice on the task's val."""
    kinds, modality = [share.kind for share in shares(use)], modality_of(task)
    with in_part(task, use, only) as part, TemporaryDirectory(prefix="wsseg-union-") as name:
        models = Path(name)
        package = _beginning_with(start, new_package("union-benchmark", classes_of(part).names, modality, models))
        settings = TrainSettings(folder=models / "run", seed=seed, minutes=minutes, steps=steps)
        began = time.monotonic()
        trained = train_package(package, part / "train", models, settings, use=kinds).package
        seconds = time.monotonic() - began
        return _scored(Segmenter(trained.folder), part / "val", seconds)


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


@contextmanager
def in_part(task: Path, use: str, only: str) -> Iterator[Path]:
    """A task with the labels of a row alone, and of one class if one is named; the task itself where that is all."""
    parts = shares(use)
    if not only and all(share.scans is None for share in parts):
        yield task
        return
    everywhere = list(scan_files(task / "train"))
    labelled = {_file_of(share.kind): set(share.of(everywhere)) for share in parts}
    with TemporaryDirectory(prefix="wsseg-part-") as folder:
        out, names = Path(folder), classes_of(task).names
        value = names.index(only) + 1 if only else 0
        _write_scans(task / "train", out / "train", labelled, value)
        _write_scans(task / "val", out / "val", {"label": set(scan_files(task / "val"))}, value)
        for table in (task / "train").glob("*.csv"):
            left_out = set(names) - {only} if only else set()
            _write_part(table, out / "train" / table.name, labelled.get(table.name, set()), left_out)
        yield out


def _file_of(kind: LabelKind[Any]) -> str:
    """What a kind's files are told by: the end of the name of one beside each scan, or the name of a table."""
    return str(getattr(kind, "ending", "") or getattr(kind, "table", ""))


def _write_scans(folder: Path, out: Path, labelled: Mapping[str, Collection[str]], value: int) -> None:
    """The scans of a folder that have a label, and what was drawn on them."""
    make_folder(out)
    for case, file in scan_files(folder).items():
        if any(case in cases for cases in labelled.values()):
            (out / file.name).symlink_to(file.resolve())
        for ending in ENDINGS:
            beside = drawn_beside(folder, case, ending)
            if beside and case in labelled.get(ending, ()):
                _write_drawn(beside, out / beside.name, value)


def _write_drawn(file: Path, out: Path, value: int) -> None:
    """What was drawn, and of one class alone if it has a value."""
    image = nibabel.load(file)
    voxels = np.asanyarray(image.dataobj)
    one = np.where(voxels == value, 1, np.where(voxels == BACKGROUND, BACKGROUND, 0)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(one if value else voxels, image.affine), out)


def _write_part(table: Path, out: Path, cases: Collection[str], left_out: Collection[str]) -> None:
    """The rows of a table on some scans, without classes that are left out; its columns stay, as they name classes."""
    names, listed = read_table(table, set())
    columns = [name for name in names if name not in left_out]
    rows = [row for _, row in listed if row.get("case") in cases and row.get("label") not in left_out]
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
    for kind in (share.kind for share in shares(use)):
        for case, given in kind.in_folder(folder, scans, labels).items():
            stored = kind.stored(given, read_grid(scans[case]), labels)
            drawn = stored.pixels.flatten(1)
            marked = sum(int((drawn == k + 1).any(dim=1).sum()) for k in range(len(labels)))
            known = stored.presence >= 0 if kind is PRESENCE else stored.presence == 1
            seconds += SECONDS[kind.name] * (marked or int(known.sum()))
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
    asked = parser.parse_args()
    for use in asked.use.split(","):
        shares(use)  # a row that cannot be meant is refused before others have trained
    make_folder(asked.run)
    run(asked)


def run(asked: argparse.Namespace) -> None:
    """Train what has not been yet, and print."""
    minutes = 15.0 if asked.minutes is None and asked.steps is None else asked.minutes
    length = f"{asked.steps} steps" if minutes is None else f"{minutes:g} minutes"
    rows = [(task, use, seed) for task in asked.task for use in asked.use.split(",") for seed in range(asked.seeds)]
    found: dict[tuple[Path, str], list[Score]] = {}
    with Progress() as bar:
        for task, use, seed in bar.track(rows, description="training"):
            what = f"{asked.only.replace(' ', '-')}-{task.name}" if asked.only else task.name
            file = asked.run / f"{what}-{use}-{asked.start or 'random'}-{length.replace(' ', '-')}-{seed}.json"
            score = kept(file, Score, train_and_score, task, use, asked.only, asked.start, minutes, asked.steps, seed)
            found.setdefault((task, use), []).append(score)
    for task in asked.task:
        what = f"{asked.only}, {task.name}" if asked.only else task.name
        print(f"\n{what}, {length} of training from {asked.start or 'random weights'}, {asked.seeds} seeds\n")
        names = (asked.only,) if asked.only else classes_of(task).names
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
            with in_part(task, use, asked.only) as part:
                cost = annotation_minutes(part, use)
            seconds = np.mean([score.seconds for score in scores])
            print(f"| {use} | {cost:.0f} | {cells} | {dice.mean():.3f} | {low:.3f} to {high:.3f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
