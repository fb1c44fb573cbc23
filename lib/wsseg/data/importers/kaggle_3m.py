"""The "LGG Segmentation Dataset" (Buda et al. 2019), kaggle_3m: glioma MR as stacks of TIFFs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsseg.data.importers.release import Progress, case_folders, each, presence_there, save_presence
from wsseg.errors import NotFoundError, WssegError
from wsseg.files import make_folder
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.formats.picture import read_picture
from wsseg.labels.space import LabelSpace, presence_of_mask
from wsseg.labels.tables import ListedPresence

LABELS = LabelSpace(("tumor",))

FLAIR = 1
"""Channel of the RGB picture: pre-contrast T1, FLAIR, post-contrast T1."""

AFFINE = np.diag([-1.0, -1.0, 5.0, 1.0])
"""Nominal, since the release carries no geometry: 1 x 1 x 5 mm; x to the left, y to the back, slices upwards."""

LONG = 40
"""Of scans with more slices than this every other one is kept."""


def import_kaggle_3m(source: Path, out: Path, progress: Progress) -> int:
    """Turn ``source/<patient>/<patient>_<n>.tif`` and ``_<n>_mask.tif`` into our layout.

    Writes ``<patient>.nii.gz`` (FLAIR, uint8), ``<patient>_label.nii.gz``
    (1 = tumour) and ``image_labels.csv`` (column ``tumor``: any tumour pixel).

    Returns:
        The number of patients.

    Raises:
        WssegError: nothing found, or a slice or mask is missing, damaged or of
            another size.
    """
    folders = case_folders(source, "TCGA_")
    make_folder(out)
    presence = presence_there(out, LABELS)
    for folder in each(folders, progress):
        files = _slices(folder)
        step = 2 if len(files) > LONG else 1
        scan, label = _read(files[::step])
        write_nifti(out / f"{folder.name}.nii.gz", scan, AFFINE)
        write_nifti(out / f"{folder.name}_label.nii.gz", label, AFFINE)
        presence[folder.name] = ListedPresence(presence_of_mask(label, len(LABELS)))
    save_presence(out, presence, LABELS)
    return len(folders)


def _slices(folder: Path) -> list[Path]:
    """A patient's slices from the lowest up: ``_2`` comes before ``_10``."""
    numbered = {}
    for file in folder.glob("*.tif"):
        if match := re.fullmatch(re.escape(folder.name) + r"_(\d+)\.tif", file.name):
            numbered[int(match[1])] = file
    if not numbered:
        raise WssegError(f"{folder}: holds no slice {folder.name}_<n>.tif")
    for number in range(1, max(numbered)):
        if number not in numbered:
            raise NotFoundError(f"{folder / f'{folder.name}_{number}.tif'}: no such file, a slice is missing")
    return [numbered[number] for number in sorted(numbered)]


def _read(files: list[Path]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """FLAIR and tumour, each (x, y, slice)."""
    scan = [_plane(file, "RGB")[..., FLAIR] for file in files]
    label = [_plane(file.with_name(f"{file.stem}_mask.tif"), "L") > 0 for file in files]
    for file, flair, tumour in zip(files, scan, label, strict=True):
        if flair.shape != scan[0].shape:
            raise WssegError(f"{file}: has another size than the scan's first slice {files[0].name}")
        if tumour.shape != flair.shape:
            raise WssegError(f"{file.with_name(f'{file.stem}_mask.tif')}: has another size than its slice {file.name}")
    return _stack(scan), _stack(label)


def _plane(path: Path, mode: str) -> NDArray[np.uint8]:
    picture = read_picture(path)
    if picture.mode != mode:
        raise WssegError(f"{path}: is a picture of mode {picture.mode}, expected {mode}")
    return np.asarray(picture)


def _stack(planes: Sequence[NDArray[np.generic]]) -> NDArray[np.uint8]:
    """Pictures (rows, columns) to a volume (x, y, slice)."""
    return np.stack([plane.T for plane in planes], axis=-1).astype(np.uint8)
