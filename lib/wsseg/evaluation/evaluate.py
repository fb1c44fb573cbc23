"""Masks against references: what every figure of this project means.

Positive slices are those where the reference shows the class. Dice and the
95 % Hausdorff distance (in-plane, mm, by MONAI) are taken per slice at the
scan's native resolution; an empty prediction counts as the image diagonal.
Whole volumes are scored by 3-D Dice and 3-D HD95. Presence is scored by the
area under the ROC curve over all slices, where some show a class and some do
not. In pictures single nuclei are counted and scored by AJI, parted in mask and
reference alike, as references do not tell them apart. What draws noise is
repeated with several seeds of it: mean and standard deviation over them.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from wsseg.evaluation.cases import Case, check_texts, load_cases
from wsseg.evaluation.instances import NucleiScore, score_nuclei
from wsseg.evaluation.metrics import SliceScore, VolumeScore, score_slices, score_volume
from wsseg.evaluation.preview import contact_sheet, save_picture
from wsseg.files import make_folder, whole_file
from wsseg.inference.quality.dice import rank_correlation
from wsseg.inference.result import Segmentation
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.space import Presence
from wsseg.labels.tables import TEXT_FILE
from wsseg.methods.shared.agreement import presence_auc
from wsseg.models.record import Given


@dataclass(frozen=True)
class Row:
    """A line of the table: a quantity, its mean over seeds and their deviation."""

    what: str
    mean: float
    spread: float


@dataclass(frozen=True)
class ScanRow:
    """A scan's name and the Dice of each class's whole volume, mean over seeds, by the class's name."""

    case: str
    dice: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """All scores of one model on one data set."""

    slices: list[SliceScore]
    volumes: list[VolumeScore]
    auc: dict[int, float]
    nuclei: list[NucleiScore] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Those that noise was drawn with; one where none is drawn."""
        return sorted({score.seed for score in self.volumes})

    def scans(self) -> list[ScanRow]:
        """Every scan, that with the lowest mean over classes first."""
        found: dict[str, dict[str, list[float]]] = {}
        for score in self.volumes:
            found.setdefault(score.case, {}).setdefault(score.label, []).append(score.dice)
        rows = [ScanRow(case, {name: _mean(each) for name, each in dice.items()}) for case, dice in found.items()]
        return sorted(rows, key=lambda row: _mean(list(row.dice.values())))

    def table(self) -> list[Row]:
        """The figures, each a mean over noise seeds with its spread; those that cannot be told are left out."""
        seeds = self.seeds
        rows = {
            "Dice, positive slices": [_mean([s.dice for s in self.slices if s.seed == k]) for k in seeds],
            "Dice, positive slices, mean per patient": [self._per_patient(k) for k in seeds],
            "HD95 mm, positive slices": [_mean([s.hd95_mm for s in self.slices if s.seed == k]) for k in seeds],
            "Dice, whole volumes": [_mean([v.dice for v in self.volumes if v.seed == k]) for k in seeds],
            "IoU, whole volumes": [_mean([v.dice / (2 - v.dice) for v in self.volumes if v.seed == k]) for k in seeds],
            "HD95 mm, whole volumes": [_mean([v.hd95_mm for v in self.volumes if v.seed == k]) for k in seeds],
            **self._per_class(seeds),
            "predicted against true Dice of whole volumes, rank correlation": [
                self._rank_correlation(k) for k in seeds
            ],
            "seconds per volume": [_mean([v.seconds for v in self.volumes if v.seed == k]) for k in seeds],
        }
        if self.nuclei:
            rows["AJI of nuclei"] = [_mean([n.aji for n in self.nuclei if n.seed == k]) for k in seeds]
            rows["nuclei found, % of the reference's"] = [
                100 * _mean([n.found / n.true for n in self.nuclei if n.seed == k and n.true]) for k in seeds
            ]
        if self.auc:
            rows["AUC, presence per slice"] = [self.auc[k] for k in seeds]
        return [
            Row(what, float(np.mean(values)), float(np.std(values)))
            for what, values in rows.items()
            if np.isfinite(values).all()
        ]

    def _rank_correlation(self, seed: int) -> float:
        """Over classes and scans, NaN where it cannot be told."""
        rows = np.array([(v.predicted, v.dice) for v in self.volumes if v.seed == seed])
        found = rank_correlation(rows[:, 0], rows[:, 1])
        return float("nan") if found is None else found

    def _per_class(self, seeds: list[int]) -> dict[str, list[float]]:
        """Whole volumes of each class, where there are several."""
        names = list(dict.fromkeys(v.label for v in self.volumes))
        rows: dict[str, list[float]] = {}
        for name in names if len(names) > 1 else []:
            own = [[v for v in self.volumes if v.seed == k and v.label == name] for k in seeds]
            rows[f"Dice, {name}"] = [_mean([v.dice for v in scores]) for scores in own]
            rows[f"HD95 mm, {name}"] = [_mean([v.hd95_mm for v in scores]) for scores in own]
        return rows

    def _per_patient(self, seed: int) -> float:
        patients: dict[str, list[float]] = {}
        for score in self.slices:
            if score.seed == seed:
                patients.setdefault(score.case, []).append(score.dice)
        return _mean([_mean(scores) for scores in patients.values()])


def evaluate(
    segmenter: Segmenter,
    folder: Path,
    given: Given = "nothing",
    seeds: int = 3,
    out: Path | None = None,
    progress: Callable[[float], None] = lambda part: None,
) -> Evaluation:
    """Score a model on a folder of scans, ``*_label`` masks and ``image_labels.csv``.

    Args:
        given: "presence" tells the model which slices show each class, "text"
            the sentence of the scan; with "nothing" it decides by itself, as for
            a radiologist's click.
        seeds: how often noise is drawn, for methods that draw some.
        out: where per-slice scores (CSV) and overlay pictures go.

    Raises:
        WssegError: damaged files, or a scan without a sentence that is to be told one.
    """
    cases = load_cases(folder, segmenter.package.labels, segmenter.package.recipe.axis)
    if given == "text":
        check_texts(cases, folder / TEXT_FILE)
    if out is not None:
        make_folder(out)
    slices: list[SliceScore] = []
    volumes: list[VolumeScore] = []
    auc: dict[int, float] = {}
    nuclei: list[NucleiScore] = []
    repeats = seeds if segmenter.draws_noise else 1
    for seed in range(repeats):
        decided: list[tuple[Presence, NDArray[np.float32]]] = []
        for index, case in enumerate(cases):
            started = time.perf_counter()
            presence = case.presence if given == "presence" else None
            result = segmenter(case.scan, presence, seed, text=case.text if given == "text" else "")
            took = time.perf_counter() - started
            slices += score_slices(case, result, seed)
            volumes += score_volume(case, result, seed, took)
            if case.scan.colour:
                nuclei += score_nuclei(case, result, seed)
            decided.append((case.presence, result.presence))
            if out is not None and seed == 0:
                save_picture(out / f"{case.name}.png", _overlay(case, result, segmenter))
            progress((seed * len(cases) + index + 1) / (repeats * len(cases)))
        if given == "nothing":
            auc[seed] = _presence_auc(decided)
    found = Evaluation(slices, volumes, auc, nuclei)
    if out is not None:
        _write_csv(out / "slices.csv", [asdict(score) for score in slices])
        _write_csv(out / "volumes.csv", [asdict(score) for score in volumes])
        _write_csv(out / "table.csv", [asdict(row) for row in found.table()])
    return found


def _presence_auc(decided: list[tuple[Presence, NDArray[np.float32]]]) -> float:
    """Over all slices of all scans, each as (classes, slices): as it is known and as a model says."""
    known, said = (torch.from_numpy(np.concatenate(parts, axis=1).T) for parts in zip(*decided, strict=True))
    return presence_auc(known, said)


def _overlay(case: Case, result: Segmentation, segmenter: Segmenter) -> Image.Image:
    colors = [label.color for label in segmenter.package.recipe.labels.values()]
    return contact_sheet(case.scan, result.mask.voxels, result.grid, colors, case.reference)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    if not rows:
        return
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
