"""What follows for the slices of a scan from what its report says, and nothing more."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsseg.data.kinds.base import CutScan
from wsseg.data.sentences.report import Report, Said
from wsseg.data.sentences.words import BOTH, LEFT, RIGHT, SIDES
from wsseg.data.targets import Targets
from wsseg.labels.space import NO, YES

MARGIN = 0.1
"""In widths of the body, how far from its middle a side begins: organs and tumors reach across, bodies lie askew."""

TURNED = 0.9
"""Least cosine between a scan's axis and the patient's left and right for it to have a middle."""

SEEN_WHOLE = 0.9
"""Part of the body's broad lines that must thin out at both ends, else the scan's middle is not the body's."""

_MORE = re.compile(
    r"\b(another|other|second|additional|further|elsewhere|contralateral|midline|callosum|multiple|multifocal|cross|"
    r"crosses|crossing|diffuse|everywhere|except)\b"
)
"""Words of a sentence that is not understood after which a finding may be on the other side too."""


def nowhere(report: Report, label: int) -> frozenset[int]:
    """The sides of the patient on which a class is not; none of them where the report contradicts itself."""
    of_class = [said for said in report.said if said.label == label]
    present = [said for said in of_class if said.present]
    absent = _any_side(said for said in of_class if not said.present)
    if any(said.sides <= absent for said in present):
        return frozenset()
    if not present or not all(said.news for said in present):
        return absent
    others = BOTH - _any_side(present)
    untold = " ".join(report.not_understood).lower()
    elsewhere = any(SIDES.get(word, BOTH - others) & others for word in re.findall("[a-z]+", untold))
    return absent if elsewhere or _MORE.search(untold) else absent | others


def _any_side(statements: Iterable[Said]) -> frozenset[int]:
    return frozenset[int]().union(*(said.sides for said in statements))


def constrained(known: Targets, report: Report, scan: CutScan) -> Targets:
    """What is known of a scan's slices with what its report entails.

    An absent class is on no slice, one that is on one side only is not on the other.
    Quadrants and counts entail nothing of single slices, nor does presence but where there is one slice.
    """
    presence, side = known.presence.clone(), known.side.clone()
    for label in {said.label for said in report.said}:
        gone = nowhere(report, label)
        if gone == BOTH:
            presence[:, label] = NO
        elif gone:
            side[:, label] = RIGHT if LEFT in gone else LEFT
        elif len(presence) == 1 and all(said.present for said in report.said if said.label == label):
            presence[:, label] = YES
    if not side.any():
        return replace(known, presence=presence)
    half = scan.stack.labels_to_network(halves_of(scan))
    return replace(known, presence=presence, side=side, half=half)


def halves_of(scan: CutScan) -> NDArray[np.uint8]:
    """Where the patient's left and right surely are: (slices, rows, columns) as cut of LEFT, RIGHT and 0 around.

    All 0 where the body's middle is not known: on pictures and scans without an
    orientation, on oblique ones, and where the body is cut off on one side.
    """
    stack, affine = scan.stack, scan.volume.affine
    unknown = np.zeros(stack.tissue.shape, np.uint8)
    nifti = scan.volume.nifti
    if scan.volume.picture or (nifti is not None and int(nifti["sform_code"]) <= 0 and int(nifti["qform_code"]) <= 0):
        return unknown
    steps = affine[0, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(steps).max() < TURNED:
        return unknown
    x, y, z = np.indices(scan.volume.shape, sparse=True)
    right_mm = stack.grid.cut(affine[0, 0] * x + affine[0, 1] * y + affine[0, 2] * z)
    across = 0 if stack.grid.axis == 0 else 1
    thickness = np.moveaxis(stack.tissue, across, -1).sum(axis=1)
    limits = _body(thickness, np.moveaxis(right_mm, across, -1).mean(axis=1))
    if limits is None:
        return unknown
    middle, reach = sum(limits) / 2, MARGIN * (limits[1] - limits[0])
    return np.select([right_mm < middle - reach, right_mm > middle + reach], [LEFT, RIGHT], 0).astype(np.uint8)


def _body(thickness: NDArray[np.int_], right_mm: NDArray[np.float64]) -> tuple[float, float] | None:
    """The limits in mm within which a body has half its greatest thickness at least, None where it has more at an end.

    Arms and flanks may be cut off then, of an ellipse no more than a fifteenth of its width.

    Args:
        thickness: pixels of tissue along lines (n, across) from the patient's left to right.
        right_mm: (n, across), where they lie.
    """
    lines = 2 * thickness > thickness.max(axis=1, keepdims=True)
    lines, right_mm = lines[lines.any(axis=1)], right_mm[lines.any(axis=1)]
    if not len(lines):
        return None
    first, last = lines.argmax(axis=1), lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
    broad = 2 * (last - first) >= (last - first).max()
    if ((first > 0) & (last < lines.shape[1] - 1))[broad].mean() < SEEN_WHOLE:
        return None
    every = np.arange(len(lines))
    return float(np.median(right_mm[every, first][broad])), float(np.median(right_mm[every, last][broad]))
