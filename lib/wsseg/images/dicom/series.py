"""A DICOM series as one volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from wsseg.errors import NotFoundError, WssegError
from wsseg.images.dicom.slice import Slice, read_header
from wsseg.images.limits import check_size, check_spacing
from wsseg.images.volume import LPS, Made, Volume

UPRIGHT = 0.7
"""Least part of the step from slice to slice that leads out of their plane: a gantry tilted by 45 degrees."""

UNEVEN = 0.01
"""Steps from slice to slice may differ by this part of the usual one."""


@dataclass(frozen=True)
class DicomScan:
    """A series of single-frame images as one volume.

    Attributes:
        volume: float32 (column, row, slice) with the files' rescale slope and
            intercept applied, slices in the order of their positions.
        series_uid: SeriesInstanceUID, the case's name.
        sources: the files' headers in the order of the slices, without pixels.
    """

    volume: Volume
    series_uid: str
    sources: tuple[Dataset, ...]

    @property
    def patient(self) -> str:
        """PatientID, "" where the files have none."""
        return str(self.sources[0].get("PatientID") or "")


def read_series(folder: Path) -> DicomScan:
    """Read the one image series of a folder and of the folders in it.

    File names do not matter; SEG, SR, DICOMDIR and files that are not DICOM
    are passed over.

    Raises:
        WssegError: no image or several series; a file is damaged, colour or
            multi-frame; slices are missing, double, or of different size or
            orientation.
    """
    return _one_scan(*image_files(folder), folder)


def image_files(folder: Path) -> tuple[str, list[tuple[Path, Dataset]]]:
    """The one image series of a folder: its UID, its files and their headers.

    Raises:
        WssegError: no such folder, no image or several series.
    """
    if not folder.exists():
        raise NotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise WssegError(f"{folder}: is a file, a DICOM scan is given as the folder of its series")
    return _one_series([path for path in sorted(folder.rglob("*")) if _may_be_dicom(path)], folder)


def read_files(paths: Sequence[Path], folder: Path) -> DicomScan:
    """Read the one image series among files.

    Args:
        paths: of the files.
        folder: what errors call them together.

    Raises:
        WssegError: see :func:`read_series`.
    """
    return _one_scan(*_one_series(paths, folder), folder)


def _one_scan(uid: str, files: Sequence[tuple[Path, Dataset]], folder: Path) -> DicomScan:
    slices = [Slice.of(path, header) for path, header in files]
    first = slices[0]
    for other in slices[1:]:
        _check_alike(first, other)
    check_size((*first.shape, len(slices)), 4, folder)
    slices.sort(key=lambda s: float(s.position @ first.normal))
    affine = np.eye(4)
    affine[:3, :2] = (first.axes * first.spacing[:, None]).T
    affine[:3, 2] = _step(slices, folder)
    affine[:3, 3] = slices[0].position
    voxels = np.stack([s.pixels() for s in slices]).T
    return DicomScan(Volume(voxels, LPS @ affine, made=made_of(first.header)), uid, tuple(s.header for s in slices))


def _may_be_dicom(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name.upper() != "DICOMDIR"


def made_in(folder: Path) -> Made:
    """How the series of a folder was made, of which the header of one image is read.

    Raises:
        WssegError: there is none.
    """
    for path in filter(_may_be_dicom, sorted(folder.rglob("*"))):
        if (header := read_header(path)) is not None:
            return made_of(header)
    raise WssegError(f"{folder}: holds no DICOM image")


def made_of(header: Dataset) -> Made:
    """What a header says of how its series was made."""
    modality, body_part = (str(header.get(name) or "") for name in ("Modality", "BodyPartExamined"))
    return Made(modality, body_part)


def _one_series(paths: Sequence[Path], folder: Path) -> tuple[str, list[tuple[Path, Dataset]]]:
    """The only image series among files: its UID, its files and their headers."""
    series: dict[str, list[tuple[Path, Dataset]]] = {}
    for path in paths:
        header = read_header(path)
        if header is not None:
            series.setdefault(str(header.SeriesInstanceUID), []).append((path, header))
    if not series:
        raise WssegError(f"{folder}: holds no DICOM image")
    if len(series) > 1:
        found = ", ".join(f"{uid} ({len(files)} files in {files[0][0].parent})" for uid, files in series.items())
        raise WssegError(f"{folder}: holds {len(series)} image series, give a folder that holds only one: {found}")
    return next(iter(series.items()))


def _check_alike(one: Slice, other: Slice) -> None:
    """Refuse slices that do not lie on one grid."""
    if one.shape != other.shape or not np.allclose(one.spacing, other.spacing, rtol=1e-4):
        raise WssegError(f"{other.path}: has another size or pixel spacing than {one.path.name}")
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if (keyword in one.header) != (keyword in other.header):
            raise WssegError(f"{other.path}: {keyword} is in this file or in {one.path.name}, but not in both")
    if not np.allclose(one.axes, other.axes, atol=1e-4):
        raise WssegError(f"{other.path}: has another orientation than {one.path.name}, a scan has one")


def _step(slices: Sequence[Slice], folder: Path) -> NDArray[np.float64]:
    """(3,) mm from one slice to the next; oblique to the plane for a tilted gantry.

    Args:
        slices: in the order of their positions.
        folder: for the error's sentence.
    """
    first = slices[0]
    if len(slices) == 1:  # of several, a slab may be thicker than their distance
        check_spacing([first.thickness], "SpacingBetweenSlices or SliceThickness", first.path)
        return first.normal * first.thickness
    steps = np.diff([s.position for s in slices], axis=0)
    double = np.flatnonzero(steps @ first.normal < 1e-3)
    if len(double):
        one, two = (slices[double[0] + k].path for k in (0, 1))
        raise WssegError(f"{one}: is at the same position as {two.name}, give one image (time, echo) per position")
    usual = np.median(steps, axis=0)
    away = np.linalg.norm(steps - usual, axis=1)
    if away.max() > UNEVEN * np.linalg.norm(usual):
        worst = int(away.argmax())
        one, two = (slices[worst + k].path.name for k in (0, 1))
        gap, common = np.linalg.norm(steps[worst]), np.linalg.norm(usual)
        raise WssegError(
            f"{folder}: slices are missing or unevenly spaced, {gap:.4g} mm between {one} and {two}, "
            f"{common:.4g} mm is usual"
        )
    step = steps.mean(axis=0)
    if abs(step @ first.normal) < UPRIGHT * np.linalg.norm(step):
        raise WssegError(
            f"{folder}: ImagePositionPatient shifts each slice sideways by more than it rises, no gantry tilts so far"
        )
    check_spacing([float(np.linalg.norm(step))], "ImagePositionPatient", first.path)
    return step
