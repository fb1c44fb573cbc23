"""What the benchmarks share: heat maps and thresholds swept over them, results kept in files, figures in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsseg.data.preprocess import Stack, View, prepare
from wsseg.evaluation.cases import Case
from wsseg.files import whole_file
from wsseg.methods.base import Method
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.heat import calibrate as calibrate_map
from wsseg.models.package import ModelPackage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Found = TypeVar("Found", bound="DataclassInstance")


@dataclass(frozen=True)
class Heat:
    """The positive slices of one case.

    Attributes:
        maps: (slices, rows, columns) float32, before any threshold.
        otsu: (slices, rows, columns) bool, thresholded as the product does, before the rim.
        truth: (slices, rows, columns) bool.
        depth_mm: of each pixel under the outline of the tissue.
    """

    case: str
    maps: NDArray[np.float32]
    otsu: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    depth_mm: NDArray[np.float32]


CEILING = 1e6
"""A threshold far above any map: probabilities are then the map over twice this."""


def heat_of(method: Method, package: ModelPackage, case: Case, seed: int) -> Heat:
    """A method's map, before regions and threshold; presence is given."""
    stack = prepare(case.scan, View.of(package.recipe))
    given = stack.ordered(case.presence)
    method.settings = method.settings.model_copy(update={"threshold": CEILING, "regions": False})
    with torch.no_grad():
        predicted = method.predict(stack.images, Prompt(given), Pass(64, seed=seed))
    return _heat(case, stack, predicted.probabilities.double() * 2 * CEILING)


def brightness_of(package: ModelPackage, case: Case) -> Heat:
    """No model at all: how much brighter than the tissue's median each pixel is."""
    stack = prepare(case.scan, View.of(package.recipe))
    return _heat(case, stack, ((stack.images + 1) / 2 - 1 / package.recipe.bright).clamp(min=0))


def _heat(case: Case, stack: Stack, heat: Tensor) -> Heat:
    grid = stack.grid
    truth = grid.cut(case.reference) > 0
    shown = np.flatnonzero(truth.any(axis=(1, 2)))
    maps = stack.to_native(heat)[:, 0]
    otsu = stack.to_native(calibrate_map(heat.float(), "otsu"))[:, 0] > 0.5
    return Heat(case.name, maps[shown], otsu[shown], truth[shown], stack.depth_mm(shown))


def sweep(heats: list[Heat], rim_mm: float, thresholds: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Dice of every slice at every threshold: per case (slices, thresholds)."""
    found = []
    for heat in heats:
        rows = []
        for plane, truth, depth in zip(heat.maps, heat.truth, heat.depth_mm, strict=True):
            inside = depth > rim_mm
            everything, hits = np.sort(plane[inside]), np.sort(plane[inside & truth])
            marked = len(everything) - np.searchsorted(everything, thresholds, "right")
            right = len(hits) - np.searchsorted(hits, thresholds, "right")
            rows.append(2 * right / (marked + truth.sum()))
        found.append(np.array(rows))
    return found


def otsu_dice(heats: list[Heat], rim_mm: float) -> float:
    """Mean Dice over slices with Otsu's threshold per slice."""
    scores = []
    for heat in heats:
        for otsu, truth, depth in zip(heat.otsu, heat.truth, heat.depth_mm, strict=True):
            marked = otsu & (depth > rim_mm)
            scores.append(2 * (marked & truth).sum() / (marked.sum() + truth.sum()))
    return float(np.mean(scores))


@dataclass(frozen=True)
class Calibration:
    """A threshold fitted on all cases, and what it is worth on cases it was not fitted on."""

    threshold: float
    fitted: float
    left_out: float
    best_per_slice: float


def calibrate(heats: list[Heat], rim_mm: float) -> Calibration:
    """The threshold of best mean Dice; ``left_out`` is leave-one-patient-out."""
    values = np.concatenate([heat.maps[heat.depth_mm > rim_mm] for heat in heats])
    thresholds = np.quantile(values[values > 0], np.linspace(0.3, 0.999, 200))
    dice = sweep(heats, rim_mm, thresholds)
    total = np.concatenate(dice)
    left_out = []
    for index, own in enumerate(dice):
        others = np.concatenate([d for k, d in enumerate(dice) if k != index])
        left_out.append(own[:, others.mean(axis=0).argmax()])
    best = int(total.mean(axis=0).argmax())
    return Calibration(
        float(thresholds[best]),
        float(total.mean(axis=0)[best]),
        float(np.concatenate(left_out).mean()),
        float(total.max(axis=1).mean()),
    )


def interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of a mean by bootstrap: values, one a patient, are drawn anew two thousand times."""
    rng = np.random.default_rng(0)
    means = np.asarray(values)[rng.integers(len(values), size=(2000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and standard deviation."""
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def kept(file: Path, kind: type[Found], compute: Callable[..., Found], *arguments: Any) -> Found:
    """What is computed, from its file where that was done before: an interrupted benchmark goes on where it was."""
    if not file.exists():
        found = compute(*arguments)
        with whole_file(file) as part:
            part.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return kind(**json.loads(file.read_text("utf-8")))
