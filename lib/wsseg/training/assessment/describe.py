"""What a model's training scans looked like, told from the scans themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from wsseg.data.preprocess import View, prepare
from wsseg.data.slices import patient_of
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.inference.quality.fits import LEAST_PATIENTS, Measures, learn_domain, seen_in
from wsseg.inference.quality.look import look_at
from wsseg.methods.base import Method
from wsseg.models.domain import Domain
from wsseg.models.package import Recipe


def describe(
    method: Method,
    recipe: Recipe,
    data: Path,
    cases: Collection[str] | None = None,
    progress: Callable[[float], None] = lambda part: None,
) -> Domain | None:
    """The domain of a model; None where there are scans of fewer than :data:`LEAST_PATIENTS`.

    Args:
        method: with its trained weights.
        recipe: of its package.
        data: folder of the scans that it was trained on.
        cases: those of them that it was trained on; by default all.
        progress: told the finished part, in [0, 1].
    """
    scans = {case: file for case, file in scan_files(data).items() if cases is None or case in cases}
    patients = [patient_of(case) for case in scans]
    if len(set(patients)) < LEAST_PATIENTS:
        return None
    looks, measures = [], []
    for done, file in enumerate(scans.values()):
        scan = read_scan(file)
        stack = prepare(scan, View.of(recipe))
        looks.append(look_at(scan, stack, method))
        measures.append(Measures.of(scan, stack.grid))
        progress((done + 1) / len(scans))
    return learn_domain(looks, patients, seen_in(measures))
