"""Whatever the user names as a scan: an image file or a folder of one DICOM series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wsseg.errors import WssegError
from wsseg.images.formats.nifti import NIFTI, read_nifti_frames
from wsseg.images.formats.table import MASKS, case_name, check_hangs, read_volume, write_mask
from wsseg.images.segments import Segments
from wsseg.images.volume import Volume

if TYPE_CHECKING:
    from wsseg.images.dicom.series import DicomScan

SEG = ".dcm"

VAST = 1e20
"""Intensities beyond this are damage; 64-bit whole numbers end before it, and its square does not fit float32."""


@dataclass(frozen=True)
class Scan:
    """A scan, its case name, and its DICOM series if it came as one."""

    volume: Volume
    case: str
    series: DicomScan | None = None

    @classmethod
    def of_series(cls, series: DicomScan, path: Path) -> Scan:
        """A DICOM series as a scan, whose UID is the case name."""
        check_scan(series.volume, path)
        return cls(series.volume, series.series_uid, series)

    def check_output(self, out: Path) -> None:
        """Refuse a mask file that could not be written, before anything is computed."""
        known = (*MASKS, SEG) if self.series else MASKS
        if not out.name.lower().endswith(known):
            raise WssegError(f"{out}: unknown file type for this scan's mask, expected {', '.join(known)}")
        check_hangs(out, self.volume)
        if not out.parent.is_dir():
            raise WssegError(f"{out}: the folder {out.parent} does not exist")


def read_scan(path: Path) -> Volume:
    """:func:`~wsseg.images.formats.table.read_volume`, and the voxels checked as a scan to be segmented."""
    volume = read_volume(path)
    check_scan(volume, path)
    return volume


def check_scan(volume: Volume, source: object) -> None:
    """Refuse voxels that no method can segment: not finite as float32, at its limits, or constant."""
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.float32(volume.voxels.min()), np.float32(volume.voxels.max())
    if not np.isfinite([low, high]).all():
        raise WssegError(f"{source}: holds NaN or infinite voxels")
    if max(-low, high) > VAST:
        raise WssegError(f"{source}: holds voxels from {low:.3g} to {high:.3g}, which are no intensities")
    if low == high:
        raise WssegError(f"{source}: every voxel is {low:g}, there is nothing to segment")


def read_any(path: Path) -> Scan:
    """Read a file, or a folder as a DICOM series whose UID is the case name."""
    if not path.is_dir():
        return Scan(read_scan(path), case_name(path))
    from wsseg.images.dicom.series import read_series  # DICOM's libraries are imported only when used

    return Scan.of_series(read_series(path), path)


def read_frames(path: Path) -> list[Scan]:
    """Every time of a cine as a scan, in order: of a 4-D NIfTI file, or of a DICOM series that shows each slice often.

    What has no times is one scan under its own name; times are called ``<case>_frame01`` and so on.
    """
    if path.is_dir():
        from wsseg.images.dicom.cine import read_cine

        series = read_cine(path)
        found = [Scan(each.volume, each.series_uid, each) for each in series]
    elif path.name.lower().endswith(NIFTI) and path.exists():
        found = [Scan(volume, case_name(path)) for volume in read_nifti_frames(path)]
    else:
        return [read_any(path)]
    for scan in found:
        check_scan(scan.volume, path)
    if len(found) == 1:
        return found
    return [replace(scan, case=f"{scan.case}_frame{time + 1:02d}") for time, scan in enumerate(found)]


def write_any(out: Path, mask: Volume, scan: Scan, segments: Segments) -> None:
    """Write a mask as the extension says: NIfTI, NRRD, PNG or DICOM SEG."""
    if out.name.lower().endswith(SEG) and scan.series:
        from wsseg.images.dicom.seg import write_seg

        write_seg(out, mask, scan.series, segments)
    else:
        write_mask(out, mask, len(segments.labels))
