"""BraTS (Menze et al. 2015, Baid et al. 2021): glioma MR in four sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsseg.data.importers.release import (
    Progress,
    case_folders,
    each,
    nifti_of,
    presence_there,
    read_mask,
    save_presence,
)
from wsseg.errors import NotFoundError
from wsseg.files import make_folder
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.scan import read_scan
from wsseg.labels.space import NO, UNKNOWN, YES, LabelSpace, Presence
from wsseg.labels.tables import ListedPresence

LABELS = LabelSpace(("tumor",))

NAMES = (("_flair", "_seg"), ("-t2f", "-seg"))
"""Endings of FLAIR and mask: up to 2021, and since 2023."""

ENOUGH = 0.01
"""A slice counts as showing tumour where more than this part of its pixels is tumour."""


def import_brats(source: Path, out: Path, progress: Progress) -> int:
    """Turn ``source/<case>/<case>_flair.nii.gz`` and ``_seg`` into our layout.

    Both namings are read: ``BraTS2021_00000_flair`` with ``_seg``, and
    ``BraTS-GLI-00000-000-t2f`` with ``-seg``.

    Writes ``<case>.nii.gz`` (FLAIR) and, for cases with a mask,
    ``<case>_label.nii.gz`` (1 = whole tumour, any released value above 0) and
    rows in ``image_labels.csv``. Column ``tumor``: 1 where more than 1 % of the
    slice's pixels are tumour, 0 where none is, empty (unknown) in between,
    since a person would not vouch for a few pixels.

    Returns:
        The number of cases.

    Raises:
        WssegError: nothing found, FLAIR missing, or a file is damaged or does
            not fit its scan.
    """
    folders = case_folders(source, "BraTS")
    make_folder(out)
    presence = presence_there(out, LABELS)
    for folder in each(folders, progress):
        flair, seg = _files(folder)
        scan = read_scan(flair)
        write_nifti(out / f"{folder.name}.nii.gz", scan.voxels, scan.affine)
        if seg is not None:
            label = (read_mask(seg, scan, range(5)) > 0).astype(np.uint8)
            write_nifti(out / f"{folder.name}_label.nii.gz", label, scan.affine)
            presence[folder.name] = ListedPresence(tumour_presence(label))
    save_presence(out, presence, LABELS)
    return len(folders)


def tumour_presence(label: NDArray[np.uint8]) -> Presence:
    """Presence (1, slices) of a tumour mask (x, y, slice) by the rule above."""
    part = label.mean(axis=(0, 1))
    states = np.where(part > ENOUGH, YES, np.where(part > 0, UNKNOWN, NO))
    return states[None].astype(np.int8)


def _files(folder: Path) -> tuple[Path, Path | None]:
    """FLAIR, and the mask where there is one (validation cases have none)."""
    for flair, seg in NAMES:
        if file := nifti_of(folder / f"{folder.name}{flair}"):
            return file, nifti_of(folder / f"{folder.name}{seg}")
    raise NotFoundError(f"{folder}: holds no FLAIR, expected {folder.name}_flair.nii.gz or {folder.name}-t2f.nii.gz")
