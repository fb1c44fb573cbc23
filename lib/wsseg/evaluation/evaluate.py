"""Masks against references: what every figure of this project means.

Positive slices are those where the reference shows the class. Dice and the
95 % Hausdorff distance (in-plane, mm, by MONAI) are taken per slice at the
scan's native resolution; an empty prediction counts as the image diagonal.
Whole volumes are scored by 3-D Dice and 3-D HD95. Presence is scored by the
area under the ROC curve over all slices, where some show a class and some do
not. Everything is repeated with several noise seeds: mean and standard
deviation over them.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_roc_auc
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata
from torch import Tensor

from wsseg.data.kinds import PRESENCE
from wsseg.data.preprocess import View, prepare
from wsseg.data.slices import load_slices
from wsseg.errors import WssegError
from wsseg.evaluation.preview import contact_sheet, save_picture
from wsseg.files import make_folder, whole_file
from wsseg.images.folder import reference_of, scan_files
from wsseg.images.on_grid import read_mask
from wsseg.images.scan import read_scan
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.segmenter import Segmentation, Segmenter
from wsseg.labels.space import BACKGROUND, NO, YES, LabelSpace, Presence, presence_of_mask
from wsseg.labels.tables import PRESENCE_FILE, TEXT_FILE, presence_of, read_texts
from wsseg.methods.base import Method
from wsseg.methods.prompt import Pass
from wsseg.models.package import ModelPackage

Given = Literal["nothing", "presence", "text"]


@dataclass(frozen=True)
class Case:
    """A scan with its reference mask and its presence labels.

    Attributes:
        reference: (x, y, slice) uint8 on the scan's grid.
        presence: (classes, slices as stored along their axis).
        text: the sentence of ``text.csv``, "" where there is none.
    """

    name: str
    scan: Volume
    reference: NDArray[np.uint8]
    presence: Presence
    text: str = ""


@dataclass(frozen=True)
class SliceScore:
    """One positive slice of one class under one seed; ``slice`` counts as stored."""

    seed: int
    case: str
    label: str
    slice: int
    dice: float
    hd95_mm: float


@dataclass(frozen=True)
class VolumeScore:
    """One class of one scan under one seed; ``confidence`` is that of the whole scan."""

    seed: int
    case: str
    label: str
    dice: float
    hd95_mm: float
    confidence: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """A line of the table: a quantity, its mean over seeds and their deviation."""

    what: str
    mean: float
    spread: float


@dataclass(frozen=True)
class Evaluation:
    """All scores of one model on one data set."""

    slices: list[SliceScore]
    volumes: list[VolumeScore]
    auc: dict[int, float]

    def table(self) -> list[Row]:
        """The figures, each a mean over noise seeds with its spread."""
        seeds = sorted({score.seed for score in self.volumes})
        rows = {
            "Dice, positive slices": [_mean([s.dice for s in self.slices if s.seed == k]) for k in seeds],
            "Dice, positive slices, mean per patient": [self._per_patient(k) for k in seeds],
            "HD95 mm, positive slices": [_mean([s.hd95_mm for s in self.slices if s.seed == k]) for k in seeds],
            "Dice, whole volumes": [_mean([v.dice for v in self.volumes if v.seed == k]) for k in seeds],
            "IoU, whole volumes": [_mean([v.dice / (2 - v.dice) for v in self.volumes if v.seed == k]) for k in seeds],
            "HD95 mm, whole volumes": [_mean([v.hd95_mm for v in self.volumes if v.seed == k]) for k in seeds],
            **self._per_class(seeds),
            "confidence against Dice of whole volumes, rank correlation": [self._rank_correlation(k) for k in seeds],
            "seconds per volume": [_mean([v.seconds for v in self.volumes if v.seed == k]) for k in seeds],
        }
        if self.auc:
            rows["AUC, presence per slice"] = [self.auc[k] for k in seeds]
        return [Row(what, float(np.mean(values)), float(np.std(values))) for what, values in rows.items()]

    def _rank_correlation(self, seed: int) -> float:
        """Spearman's, over classes and scans; NaN where there are fewer than two scans or all are alike."""
        rows = [(v.confidence, v.dice) for v in self.volumes if v.seed == seed]
        confidence, dice = (rankdata(column) for column in zip(*rows, strict=True))
        if np.ptp(confidence) == 0 or np.ptp(dice) == 0:
            return float("nan")
        return float(np.corrcoef(confidence, dice)[0, 1])

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
        out: where per-slice scores (CSV) and overlay pictures go.

    Raises:
        WssegError: damaged files, or a scan without a sentence that is to be told one.
    """
    cases = load_cases(folder, segmenter.package.labels, segmenter.package.recipe.axis)
    if given == "text":
        _check_told(cases, folder / TEXT_FILE)
    if out is not None:
        make_folder(out)
    slices: list[SliceScore] = []
    volumes: list[VolumeScore] = []
    auc: dict[int, float] = {}
    for seed in range(seeds):
        decided: list[tuple[Presence, NDArray[np.float32]]] = []
        for index, case in enumerate(cases):
            started = time.perf_counter()
            presence = case.presence if given == "presence" else None
            result = segmenter(case.scan, presence, seed, text=case.text if given == "text" else "")
            took = time.perf_counter() - started
            slices += score_slices(case, result, seed)
            volumes += score_volume(case, result, seed, took)
            decided.append((case.presence, result.presence))
            if out is not None and seed == 0:
                save_picture(out / f"{case.name}.png", _overlay(case, result, segmenter))
            progress((seed * len(cases) + index + 1) / (seeds * len(cases)))
        if given == "nothing":
            auc[seed] = presence_auc(decided)
    found = Evaluation(slices, volumes, auc)
    if out is not None:
        _write_csv(out / "slices.csv", [asdict(score) for score in slices])
        _write_csv(out / "volumes.csv", [asdict(score) for score in volumes])
        _write_csv(out / "table.csv", [asdict(row) for row in found.table()])
    return found


@dataclass(frozen=True)
class LabelQuality:
    """How right the pixels are that a method labels for itself: one class, or background, over all slices."""

    label: str
    precision: float
    recall: float


def check_pixel_labels(
    method: Method, package: ModelPackage, folder: Path, chunk: int, progress: Callable[[float], None]
) -> list[LabelQuality]:
    """Measure, on scans that have masks, the pixel labels that a method's first stage would learn from.

    Nothing is trained on them. At the resolution of the network's input.

    Args:
        folder: scans, ``*_label`` masks and ``image_labels.csv``, which names every scan.
    """
    recipe, labels = package.recipe, package.labels
    data = load_slices(folder, labels, View.of(recipe), (PRESENCE,))
    truth = torch.cat([_network_truth(case, View.of(recipe)) for case in load_cases(folder, labels, recipe.axis)])
    with torch.no_grad():
        made = method.pixel_labels(method.stages()[0], data, Pass(chunk, progress=progress))
    return label_quality(made, truth, labels)


def label_quality(made: Tensor, truth: Tensor, labels: LabelSpace) -> list[LabelQuality]:
    """Pixel labels (1..N, 255 background, 0 none) against masks (0 background, 1..N), both (slices, rows, columns)."""
    rows = []
    for name, value, true_value in [*((n, v, v) for n, v in labels.values().items()), ("background", BACKGROUND, 0)]:
        marked, right = made == value, truth == true_value
        hits = int((marked & right).sum())
        rows.append(LabelQuality(name, hits / max(1, int(marked.sum())), hits / max(1, int(right.sum()))))
    return rows


def _network_truth(case: Case, view: View) -> Tensor:
    """A case's mask as the network's grid has it, (slices, size, size) uint8."""
    stack = prepare(case.scan, view)
    native = stack.grid.cut(case.reference)
    truth = torch.zeros(len(native), view.size, view.size, dtype=torch.uint8)
    for value in range(1, int(native.max(initial=0)) + 1):
        truth[stack.to_network((native == value).astype(np.float32)) > 0.5] = value
    return truth


def load_cases(folder: Path, labels: LabelSpace, default_axis: int = 2) -> list[Case]:
    """Every scan of a folder that has a reference mask.

    Args:
        folder: of data.
        labels: the classes.
        default_axis: of slices where spacing does not tell, see :class:`SliceGrid`.
    """
    cases = []
    texts = read_texts(folder / TEXT_FILE) if (folder / TEXT_FILE).exists() else {}
    for name, file in scan_files(folder).items():
        reference_file = reference_of(file)
        scan = read_scan(file)
        reference = read_mask(reference_file, scan, len(labels))
        table = folder / PRESENCE_FILE
        axis = SliceGrid.of(scan, default_axis).stored_axis
        if table.exists():
            presence = presence_of(name, table, labels, reference.shape[axis], axis)
        else:
            presence = presence_of_mask(reference, len(labels), axis)
        cases.append(Case(name, scan, reference, presence, texts.get(name, "")))
    return cases


def score_slices(case: Case, result: Segmentation, seed: int) -> list[SliceScore]:
    """Dice and HD95 of every positive slice of every class."""
    grid = result.grid
    spacing = [case.scan.spacing[axis] for axis in grid.plane_axes]
    scores = []
    for name, value in result.labels.values().items():
        predicted, truth = grid.cut(result.mask.voxels) == value, grid.cut(case.reference) == value
        for index in np.flatnonzero(truth.any(axis=(1, 2))):
            dice, distance = dice_of(predicted[index], truth[index]), hd95_of(predicted[index], truth[index], spacing)
            stored = len(truth) - 1 - index if grid.reversed else index
            scores.append(SliceScore(seed, case.name, name, int(stored), dice, distance))
    return scores


def score_volume(case: Case, result: Segmentation, seed: int, seconds: float) -> list[VolumeScore]:
    """3-D Dice and HD95 of every class; 1 and 0 mm where neither mask nor reference shows it."""
    scores = []
    for name, value in result.labels.values().items():
        predicted, truth = result.mask.voxels == value, case.reference == value
        distance = hd95_of(predicted, truth, list(case.scan.spacing))
        scores.append(
            VolumeScore(seed, case.name, name, dice_of(predicted, truth), distance, result.confidence, seconds)
        )
    return scores


def dice_of(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    total = int(predicted.sum() + truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


def hd95_of(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: list[float]) -> float:
    """95 % Hausdorff distance in mm, in-plane or 3-D; the image diagonal where one of the two is empty."""
    if not predicted.any() and not truth.any():
        return 0.0
    if not predicted.any() or not truth.any():
        return float(np.linalg.norm(np.array(truth.shape) * spacing))
    both = [torch.from_numpy(mask[None, None].astype(np.uint8)) for mask in (predicted, truth)]
    return float(compute_hausdorff_distance(*both, include_background=True, percentile=95, spacing=spacing))


def presence_auc(decided: list[tuple[Presence, NDArray[np.float32]]]) -> float:
    """Mean over classes of the area under the ROC curve over all slices with known labels; NaN if all are alike."""
    known = np.concatenate([presence for presence, _ in decided], axis=1)
    estimated = np.concatenate([probability for _, probability in decided], axis=1)
    areas = []
    for truth, probability in zip(known, estimated, strict=True):
        told = truth >= 0
        if (truth == YES).any() and (truth == NO).any():
            areas.append(compute_roc_auc(torch.from_numpy(probability[told]), torch.from_numpy(truth[told])))
    return _mean(areas)


def _check_told(cases: list[Case], table: Path) -> None:
    """Refuse scans without a sentence: they would be scored as if one did not help."""
    for case in cases:
        if not case.text:
            reason = f"no sentence for {case.name}" if table.exists() else "no such file"
            raise WssegError(f"{table}: {reason}, scoring with the text given needs one for every scan")


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
