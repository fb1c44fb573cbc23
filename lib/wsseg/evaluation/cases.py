"""Scans with reference masks, as a data folder has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.images.folder import reference_of, scan_files
from wsseg.images.on_grid import read_mask
from wsseg.images.scan import read_scan
from wsseg.images.volume import SliceGrid, Volume
from wsseg.labels.space import LabelSpace, Presence, presence_of_mask
from wsseg.labels.tables import PRESENCE_FILE, TEXT_FILE, presence_of, read_texts


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


def check_texts(cases: list[Case], table: Path) -> None:
    """Refuse scans without a sentence: they would be scored as if one did not help."""
    for case in cases:
        if not case.text:
            reason = f"no sentence for {case.name}" if table.exists() else "no such file"
            raise WssegError(f"{table}: {reason}, scoring with the text given needs one for every scan")
