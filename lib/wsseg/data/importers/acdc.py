"""ACDC (Bernard et al. 2018): short-axis cine MR of the heart."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from wsseg.data.importers.release import Progress, case_folders, each, list_folder, nifti_of, read_mask
from wsseg.errors import WssegError
from wsseg.files import make_folder
from wsseg.images.formats.nifti import NIFTI, read_nifti, write_nifti
from wsseg.images.formats.table import case_name
from wsseg.images.scan import check_scan
from wsseg.labels.space import LabelSpace

LABELS = LabelSpace(("RV", "Myo", "LV"))

SCRIBBLE_VALUES = np.array([255, 1, 2, 3, 0], np.uint8)
"""Ours by the released value: 0 background, 1 to 3 the classes, 4 not annotated."""


def import_acdc(source: Path, out: Path, progress: Progress) -> int:
    """Turn ``source/patientXXX/patientXXX_frameYY.nii.gz`` into our layout.

    Writes ``<frame>.nii.gz`` and, where the release has them,
    ``<frame>_label.nii.gz`` from ``_gt`` (1 right ventricle, 2 myocardium,
    3 left ventricle) and ``<frame>_scribble.nii.gz`` (Valvano et al. 2021) with
    values 0 not annotated, 1 to 3 the classes, 255 background.

    Returns:
        The number of frames.

    Raises:
        WssegError: nothing found, or a file is damaged or does not fit its scan.
    """
    frames = [frame for patient in case_folders(source, "patient") for frame in _frames(patient)]
    make_folder(out)
    for path in each(frames, progress):
        frame = case_name(path)
        # The release's affine says 1 x 1 x 1 mm everywhere, the true size stands in pixdim only.
        scan = read_nifti(path, sizes_from_pixdim=True)
        check_scan(scan, path)
        write_nifti(out / f"{frame}.nii.gz", scan.voxels, scan.affine)
        if label := nifti_of(path.with_name(f"{frame}_gt")):
            write_nifti(out / f"{frame}_label.nii.gz", read_mask(label, scan, range(4)), scan.affine)
        if scribble := nifti_of(path.with_name(f"{frame}_scribble")):
            released = read_mask(scribble, scan, range(5))
            write_nifti(out / f"{frame}_scribble.nii.gz", SCRIBBLE_VALUES[released], scan.affine)
    return len(frames)


def _frames(patient: Path) -> list[Path]:
    """The scans of one patient; the whole cine (``_4d``), masks and scribbles left out."""
    scan = re.compile(re.escape(patient.name) + r"_frame\d+")
    frames = {case_name(f): f for f in list_folder(patient) if f.name.lower().endswith(NIFTI)}
    found = [file for name, file in frames.items() if scan.fullmatch(name)]
    if not found:
        raise WssegError(f"{patient}: holds no scan {patient.name}_frameYY.nii.gz")
    return found
