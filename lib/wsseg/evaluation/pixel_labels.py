"""Pixel labels that a method makes for itself, against masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsseg.data.kinds.registry import MASKS
from wsseg.data.preprocess import View, prepare
from wsseg.data.slices import load_slices
from wsseg.evaluation.cases import Case, load_cases
from wsseg.labels.space import BACKGROUND, LabelSpace
from wsseg.methods.base import Method
from wsseg.methods.prompt import Pass
from wsseg.models.package import ModelPackage
from wsseg.models.record import LabelQuality


def check_pixel_labels(
    method: Method, package: ModelPackage, folder: Path, chunk: int, progress: Callable[[float], None]
) -> dict[str, LabelQuality]:
    """Measure, on scans that have masks, the pixel labels that a method's first stage would learn from
    which makes them.

    Nothing is trained on them. At the resolution of the network's input.

    Args:
        folder: scans, ``*_label`` masks and the weak labels that are to be turned into pixel labels;
            scans without any are left out.
    """
    recipe, labels = package.recipe, package.labels
    weak = tuple(kind for kind in method.learns_from if kind is not MASKS)
    data = load_slices(folder, labels, View.of(recipe), weak)
    cases = [case for case in load_cases(folder, labels, recipe.axis) if case.name in data.cases]
    truth = torch.cat([_network_truth(case, View.of(recipe)) for case in cases])
    first = next(stage for stage in method.stages() if stage.makes_labels)
    with torch.no_grad():
        made = method.pixel_labels(first, data, Pass(chunk, progress=progress))
    return label_quality(made, truth, labels)


def label_quality(made: Tensor, truth: Tensor, labels: LabelSpace) -> dict[str, LabelQuality]:
    """Pixel labels (1..N, 255 background, 0 none) against masks (0 background, 1..N), both (slices, rows, columns)."""
    found = {}
    for name, value, true_value in [*((n, v, v) for n, v in labels.values().items()), ("background", BACKGROUND, 0)]:
        marked, right = made == value, truth == true_value
        hits = int((marked & right).sum())
        precision, recall = hits / max(1, int(marked.sum())), hits / max(1, int(right.sum()))
        found[name] = LabelQuality(precision=precision, recall=recall)
    return found


def _network_truth(case: Case, view: View) -> Tensor:
    """A case's mask as the network's grid has it, (slices, size, size) uint8."""
    stack = prepare(case.scan, view)
    native = stack.grid.cut(case.reference)
    truth = torch.zeros(len(native), view.size, view.size, dtype=torch.uint8)
    for value in range(1, int(native.max(initial=0)) + 1):
        truth[stack.to_network((native == value).astype(np.float32)) > 0.5] = value
    return truth
