"""A mask as a DICOM SEG that belongs to its series' study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, DS, DT, TM
from skimage.color import rgb2lab

from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.images.dicom.series import DicomScan
from wsseg.images.dicom.slice import numbers
from wsseg.images.dicom.uids import REFERENCES, is_uid
from wsseg.images.segments import Segments
from wsseg.images.volume import Volume

_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Attributes that a SEG must have, though perhaps without a value (type 2)."""


_READ_AS: Mapping[str, Callable[[str], object]] = {"DA": DA, "TM": TM, "DT": DT}
"""How values of dates and times are checked."""


@dataclass(frozen=True)
class Identity:
    """What a SEG or an SR is known by.

    Attributes:
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
    """

    series: str
    instance: str

    @classmethod
    def new(cls) -> Identity:
        """One that nothing else has."""
        return cls(generate_uid(), generate_uid())

    @classmethod
    def derived(cls, *sources: str) -> Identity:
        """The same one whenever it is derived of the same texts: a result that is made again is the same object."""
        series, instance = (generate_uid(entropy_srcs=[kind, *sources]) for kind in ("series", "instance"))
        return cls(series, instance)


def write_seg(path: Path, mask: Volume, scan: DicomScan, segments: Segments, identity: Identity | None = None) -> None:
    """Write a mask as a binary DICOM SEG that belongs to the scan's study.

    Segments are numbered from 1, one per class that the mask shows, in the
    given order and with the given names, codes and colours. Of an empty mask all
    classes are listed with empty frames: they were looked for and not found.
    Every slice has its frame, so that readers get the scan's whole grid back.

    Args:
        path: of the file.
        mask: classes 1..N on the scan's grid, its axes in any order and direction.
        scan: what :func:`read_series` returned.
        segments: the classes and who made the mask.
        identity: what it is known by, by default something new.

    Raises:
        WssegError: the mask is on another grid or has other classes, the
            series lacks what a SEG must refer to, or the file cannot be written.
    """
    frames = _frames(mask, scan)
    names = list(segments.labels)
    if frames.min() < 0 or frames.max() > len(names):
        raise WssegError(f"mask: holds classes up to {frames.max()}, {segments.author} has {len(names)}")
    check_references(scan)
    shown = [int(value) for value in np.unique(frames) if value] or list(range(1, len(names) + 1))
    number = np.zeros(len(names) + 1, np.uint8)
    number[shown] = range(1, len(shown) + 1)
    seg = _segmentation(
        number[frames], [names[value - 1] for value in shown], scan, segments, identity or Identity.new()
    )
    with whole_file(path) as part, named(scan.series_uid):
        seg.save_as(part, write_like_original=False)


def check_references(scan: DicomScan) -> None:
    """Refuse a scan that a result of it cannot refer to.

    Raises:
        WssegError: a UID of a file is missing, or none; a result's file may be named by it.
    """
    for source in scan.sources:
        for name in (*REFERENCES, "FrameOfReferenceUID"):
            if not is_uid(str(source.get(name, ""))):
                with named(scan.series_uid):
                    raise ValueError(f"{name} is missing or no UID")


def _frames(mask: Volume, scan: DicomScan) -> NDArray[np.integer]:
    """The mask's voxels as (slices, rows, columns) of the scan's files."""
    to_scan = np.linalg.inv(scan.volume.affine) @ mask.affine
    turn = nib.orientations.io_orientation(to_scan)
    voxels = nib.orientations.apply_orientation(mask.voxels, turn)
    left = to_scan @ nib.orientations.inv_ornt_aff(turn, mask.shape)
    if voxels.shape != scan.volume.shape or not np.allclose(left, np.eye(4), atol=1e-3):
        raise WssegError(f"mask: is not on the grid of series {scan.series_uid}")
    return voxels.T


@contextmanager
def named(series_uid: str) -> Iterator[None]:
    """One sentence for what a header sets off, whose values are decoded only here and checked by highdicom."""
    try:
        yield
    except (OSError, WssegError):  # of the file that is written
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise WssegError(
            f"series {series_uid}: a DICOM SEG cannot refer to it ({reason}), write .nii.gz or .nrrd instead"
        ) from error


def _segmentation(
    voxels: NDArray[np.uint8], names: Sequence[str], scan: DicomScan, segments: Segments, identity: Identity
) -> Segmentation:
    """The SEG of segment numbers (slices, rows, columns), 0 for none."""
    author, version = segments.author, segments.version
    descriptions = [_description(k + 1, name, segments) for k, name in enumerate(names)]
    with named(scan.series_uid):
        sources = _citable(scan)
        seg = Segmentation(
            source_images=sources,
            pixel_array=voxels,
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=identity.series,
            series_number=1000 + int(next(iter(numbers(sources[0], "SeriesNumber")), 0)),
            series_description=f"{author} {version}{': ' if segments.remark else ''}{segments.remark}"[:64],
            content_description=segments.remark[:64] or None,
            sop_instance_uid=identity.instance,
            instance_number=1,
            manufacturer="wsseg",
            manufacturer_model_name=author,
            software_versions=version,
            device_serial_number=f"{author} {version}",
            content_label="SEGMENTATION",
            omit_empty_frames=False,
        )
    seg.SeriesDate, seg.SeriesTime = seg.ContentDate, seg.ContentTime  # by which viewers order series
    seg.SpecificCharacterSet = "ISO_IR 192"  # highdicom copies names, but not how they are encoded
    return seg


def _citable(scan: DicomScan) -> list[Dataset]:
    """The headers, the first with what highdicom reads of it and archives leave out."""
    first = copy(scan.sources[0])
    for tag in list(first.keys()):
        _empty_if_wrong(first, tag)
    for keyword in _MAY_BE_EMPTY:
        first.setdefault(keyword, "")
    if first.PatientSex not in ("M", "F", "O"):
        first.PatientSex = ""
    if first.get("LossyImageCompression") == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            first.setdefault(keyword, "")
    # Measured, since the header's may be missing, rounded or another quantity.
    first.SpacingBetweenSlices = DS(scan.volume.spacing[2], auto_format=True)
    if not len(numbers(first, "SliceThickness")):
        first.SliceThickness = first.SpacingBetweenSlices
    return [first, *scan.sources[1:]]


def _empty_if_wrong(header: Dataset, tag: BaseTag) -> None:
    """Leave out the value of an attribute that is not as DICOM wants it, as highdicom refuses the whole SEG for it."""
    try:
        element = header[tag]
        if element.VR in _READ_AS and element.value:
            _READ_AS[element.VR](str(element.value))
    except Exception:  # whatever a value sets off when it is decoded
        header[tag] = DataElement(tag, dictionary_VR(tag) if dictionary_has_tag(tag) else "LO", "")


def _description(number: int, name: str, segments: Segments) -> SegmentDescription:
    """One segment's name, meaning, colour and author."""
    label = segments.labels[name]
    category, kind = (Code(code.value, code.scheme, code.meaning) for code in (label.category, label.type))
    algorithm = AlgorithmIdentificationSequence(segments.author, codes.cid7162.ArtificialIntelligence, segments.version)
    how = "SEMIAUTOMATIC" if segments.edited else "AUTOMATIC"
    description = SegmentDescription(number, name[:64], category, kind, how, algorithm)
    if segments.remark:
        description.SegmentDescription = segments.remark[:1024]
    # White is D65's, as for DCMTK (3D Slicer) and dcmjs (OHIF) when they turn it back into RGB.
    lab = rgb2lab(np.array(label.color) / 255)
    description.RecommendedDisplayCIELabValue = list(CIELabColor(*map(float, lab)).value)
    return description
