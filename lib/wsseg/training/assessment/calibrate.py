"""How far a model may be believed, told from labelled scans that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wsseg.data.kinds.base import CutScan, LabelKind
from wsseg.data.kinds.registry import KINDS, MASKS, PRESENCE
from wsseg.data.preprocess import View, prepare
from wsseg.data.slices import patient_of
from wsseg.data.targets import Targets
from wsseg.evaluation.metrics import dice_of
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.inference.quality import doubt
from wsseg.inference.quality.dice import learn_quality
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.space import UNKNOWN, YES
from wsseg.models.calibration import Calibration, DoubtQuality

OF = (MASKS.name, "drawn pixels", PRESENCE.name)
"""What masks are compared with, the best first."""


LEAST = 5
"""Patients without whom nothing is said: signs of two scans would be weighed at random."""


@dataclass(frozen=True)
class Compared:
    """The mask of a scan beside what people said of it.

    Attributes:
        signs: of a good mask, (classes, signs).
        dice: agreement with labels, (classes,); NaN where neither shows the class.
        shown: whether people say that the scan shows the class, (classes,).
        counts: voxels by doubt.
        of: what it was compared with, one of :data:`OF`.
    """

    signs: NDArray[np.float64]
    dice: NDArray[np.float64]
    shown: NDArray[np.bool_]
    counts: doubt.Counts
    of: str


def compare(
    segmenter: Segmenter,
    data: Path,
    cases: Collection[str] | None = None,
    progress: Callable[[float], None] = lambda part: None,
) -> dict[str, Compared]:
    """Segment labelled scans, and compare on the network's pixels; scans without a label are left out.

    Compared is with complete masks where there are, else with the pixels that people
    drew on, else with the slices that they said show a class; all scans with the
    best that there is.

    Args:
        segmenter: of the model, uncalibrated.
        data: folder of scans and their labels, none of which it was trained on.
        cases: some of them; by default all.
        progress: told the finished part, in [0, 1].
    """
    labels, view = segmenter.package.labels, View.of(segmenter.package.recipe)
    there = scan_files(data)
    scans = {case: file for case, file in there.items() if cases is None or case in cases}
    masks = {case: mask for case, mask in MASKS.in_folder(data, there, labels).items() if case in scans}
    given: dict[LabelKind[Any], dict[str, Any]] = {MASKS: masks}
    if not masks:
        given = {kind: kind.in_folder(data, there, labels) for kind in KINDS.values()}
    found: dict[str, Compared] = {}
    for done, (case, file) in enumerate(scans.items()):
        volume = read_scan(file)
        scan = CutScan(case, file, volume, prepare(volume, view))
        known = scan.unknown(labels)
        for kind in reversed(list(given)):
            if case in given[kind]:
                known = kind.targets(given[kind][case], scan, labels, data).over(known)
        if one := _compared(segmenter, scan, known):
            found[case] = one
        progress((done + 1) / len(scans))
    best = min((OF.index(each.of) for each in found.values()), default=0)
    return {case: each for case, each in found.items() if each.of == OF[best]}


def _compared(segmenter: Segmenter, scan: CutScan, known: Targets) -> Compared | None:
    target, drawn = known.with_implied().known_pixels()
    if not drawn.any() and (known.presence == UNKNOWN).all():
        return None
    result, stack = segmenter(scan.volume), scan.stack
    mask, doubtful = (
        stack.labels_to_network(np.ascontiguousarray(result.grid.cut(volume.voxels)))
        for volume in (result.mask, result.uncertainty)
    )
    counts = doubt.count(doubtful[drawn].numpy(), mask[drawn].numpy(), target[drawn].numpy())
    pairs = []
    for k, value in enumerate(result.labels.values().values()):
        if drawn.any():
            pairs.append(((mask == value)[drawn], (target == value)[drawn]))
        else:
            said = known.presence[:, k] != UNKNOWN
            pairs.append(((mask == value).flatten(1).any(dim=1)[said], known.presence[said, k] == YES))
    dice, shown = [_agreement(*pair) for pair in pairs], [bool(true.any()) for _, true in pairs]
    of = OF[0] if known.whole.all() else OF[1] if drawn.any() else OF[2]
    return Compared(result.signs, np.array(dice), np.array(shown), counts, of)


def _agreement(found: Tensor, true: Tensor) -> float:
    """Dice; NaN where neither shows anything."""
    return dice_of(found.numpy(), true.numpy()) if found.any() or true.any() else math.nan


def calibration_of(compared: Mapping[str, Compared], names: Collection[str]) -> Calibration | None:
    """The calibration of a model from scans that it was not trained on; None of fewer than :data:`LEAST` patients.

    Args:
        compared: by scan, all of the same ``of``.
        names: of the classes.
    """
    patients = [patient_of(case) for case in compared]
    if len(set(patients)) < LEAST:
        return None
    signs, dice, shown = (
        np.stack([getattr(each, name) for each in compared.values()]) for name in ("signs", "dice", "shown")
    )
    learned = learn_quality(signs, dice, patients)
    parts = zip(names, learned.classes, shown.mean(axis=0), strict=True)
    counts = sum((each.counts for each in compared.values()), doubt.NONE)
    calibrated, (slope, offset) = doubt_of(compared, patients), doubt.fit(counts)
    plain, better = doubt.calibration_error(counts), doubt.calibration_error(calibrated)
    if better >= plain:
        calibrated, slope, offset, better = counts, 1.0, 0.0, plain
    quality = DoubtQuality(plain=plain, calibrated=better, levels=doubt.reliability(calibrated))
    return Calibration(
        scans=len(compared),
        of=next(iter(compared.values())).of,
        weights=tuple(map(float, learned.weights)),
        classes={name: known.model_copy(update={"shown": float(part)}) for name, known, part in parts},
        slope=slope,
        offset=offset,
        doubt=quality if counts.voxels.any() else None,
    )


def doubt_of(compared: Mapping[str, Compared], patients: Sequence[str]) -> doubt.Counts:
    """Voxels of all scans by doubt that was calibrated on the other patients."""
    own: dict[str, doubt.Counts] = {}
    for each, patient in zip(compared.values(), patients, strict=True):
        own[patient] = own.get(patient, doubt.NONE) + each.counts
    found = doubt.NONE
    for patient, counts in own.items():
        others = sum((theirs for name, theirs in own.items() if name != patient), doubt.NONE)
        found += doubt.retold(counts, doubt.calibrated(*doubt.fit(others)))
    return found
