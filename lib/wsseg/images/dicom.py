"""A DICOM series in, a DICOM SEG out.

Imported only where DICOM is met: its libraries take a second to load.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import UID, generate_uid
from pydicom.valuerep import DS
from skimage.color import rgb2lab

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import whole_file
from wsseg.images.volume import Volume
from wsseg.labels.space import Label
from wsseg.models.package import ModelPackage

UNEVEN = 0.01
"""Steps from slice to slice may differ by this part of the usual one."""

_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's patient coordinates (LPS+) to a volume's (RAS+)."""

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

_PIXEL_DATA = Tag("PixelData")

_UNDEFINED_LENGTH = 0xFFFFFFFF
"""Of a value that ends with a delimiter, as compressed pixels do."""

_DAMAGED = "{}: is not a whole DICOM file, it may be damaged or cut off"


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


@dataclass(frozen=True)
class Segments:
    """What a SEG says of its segments and of who made them.

    Attributes:
        labels: classes in order of their voxel values.
        author: name of the model or program.
        version: of it.
        edited: whether a person finished what it made.
    """

    labels: Mapping[str, Label]
    author: str
    version: str
    edited: bool = False

    @classmethod
    def of(cls, package: ModelPackage) -> Segments:
        """Of a mask as a model made it."""
        return cls(package.recipe.labels, package.name, package.metadata.version)


@dataclass(frozen=True)
class _Slice:
    """One file of a series.

    Attributes:
        position: (3,) of the first pixel's centre, mm, LPS+.
        axes: (2, 3) unit vectors along which columns and rows count up.
        spacing: (2,) mm between columns and between rows.
        thickness: mm to the next slice as the header has it, or 1.
        shape: columns and rows.
    """

    path: Path
    header: Dataset
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing: NDArray[np.float64]
    thickness: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, path: Path, header: Dataset) -> _Slice:
        """A file as a slice, if it is one grey image with a place in the patient."""
        with _sound(path):
            _check_kind(path, header)
            rows, columns = (int(_needed(path, header, name, 1)[0]) for name in ("Rows", "Columns"))
            _drop_pixels(path, header, rows * columns)
            axes = _needed(path, header, "ImageOrientationPatient", 6).reshape(2, 3)
            spacing = _needed(path, header, "PixelSpacing", 2)[::-1]
            position = _needed(path, header, "ImagePositionPatient", 3)
            gaps = [*_numbers(header, "SpacingBetweenSlices"), *_numbers(header, "SliceThickness")]
            header.pop("NumberOfFrames", None)  # 1; highdicom takes its presence for a multi-frame image
        if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
            raise WssegError(f"{path}: ImageOrientationPatient must be two perpendicular unit vectors")
        if (spacing <= 0).any():
            raise WssegError(f"{path}: PixelSpacing must be positive")
        thickness = next((abs(float(gap)) for gap in gaps if gap), 1.0)
        return cls(path, header, position, axes, spacing, thickness, (columns, rows))

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) unit vector out of the plane."""
        return np.cross(self.axes[0], self.axes[1])

    def pixels(self) -> NDArray[np.float32]:
        """(rows, columns), rescaled; brighter is greater for MONOCHROME1 too."""
        try:
            image = sitk.ReadImage(str(self.path), sitk.sitkFloat32, "GDCMImageIO")
        except RuntimeError as error:
            raise WssegError(f"{self.path}: its pixels cannot be decoded, it may be damaged or cut off") from error
        return sitk.GetArrayFromImage(image)[0]


def read_series(folder: Path) -> DicomScan:
    """Read the one image series of a folder and of the folders in it.

    File names do not matter; SEG, SR, DICOMDIR and files that are not DICOM
    are passed over.

    Raises:
        WssegError: no image or several series; a file is damaged, colour or
            multi-frame; slices are missing, double, or of different size or
            orientation.
    """
    if not folder.exists():
        raise NotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise WssegError(f"{folder}: is a file, a DICOM scan is given as the folder of its series")
    uid, files = _one_series(folder)
    slices = [_Slice.of(path, header) for path, header in files]
    first = slices[0]
    for other in slices[1:]:
        _check_alike(first, other)
    slices.sort(key=lambda s: float(s.position @ first.normal))
    affine = np.eye(4)
    affine[:3, :2] = (first.axes * first.spacing[:, None]).T
    affine[:3, 2] = _step(slices, folder)
    affine[:3, 3] = slices[0].position
    voxels = np.stack([s.pixels() for s in slices]).T
    return DicomScan(Volume(voxels, _RAS @ affine), uid, tuple(s.header for s in slices))


def write_seg(path: Path, mask: Volume, scan: DicomScan, package: ModelPackage) -> None:
    """:func:`write_segments` with the mask that a model made."""
    write_segments(path, mask, scan, Segments.of(package))


def write_segments(path: Path, mask: Volume, scan: DicomScan, segments: Segments) -> None:
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

    Raises:
        WssegError: the mask is on another grid or has other classes, the
            series lacks what a SEG must refer to, or the file cannot be written.
    """
    frames = _frames(mask, scan)
    names = tuple(segments.labels)
    if frames.min() < 0 or frames.max() > len(names):
        raise WssegError(f"mask: holds classes up to {frames.max()}, {segments.author} has {len(names)}")
    shown = [int(value) for value in np.unique(frames) if value] or list(range(1, len(names) + 1))
    number = np.zeros(len(names) + 1, np.uint8)
    number[shown] = range(1, len(shown) + 1)
    seg = _segmentation(number[frames], [names[value - 1] for value in shown], scan, segments)
    with whole_file(path) as part:
        seg.save_as(part, write_like_original=False)


def _one_series(folder: Path) -> tuple[str, list[tuple[Path, Dataset]]]:
    """The only image series under a folder: its UID, its files and their headers."""
    series: dict[str, list[tuple[Path, Dataset]]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.name.upper() != "DICOMDIR":
            header = _read_header(path)
            if header is not None:
                series.setdefault(str(header.SeriesInstanceUID), []).append((path, header))
    if not series:
        raise WssegError(f"{folder}: holds no DICOM image")
    if len(series) > 1:
        found = ", ".join(f"{uid} ({len(files)} files in {files[0][0].parent})" for uid, files in series.items())
        raise WssegError(f"{folder}: holds {len(series)} image series, give a folder that holds only one: {found}")
    return next(iter(series.items()))


def _read_header(path: Path) -> Dataset | None:
    """The header of a DICOM image; None if the file is something else."""
    with _sound(path):
        with path.open("rb") as file:
            start = file.read(132)
        if start[128:] != b"DICM":
            cut_off = len(start) < 132 and not start[:128].strip(b"\0")
            if cut_off or path.suffix.lower() == ".dcm":
                raise WssegError(_DAMAGED.format(path))
            return None
        header = dcmread(path, defer_size=4096)  # longer values, pixels above all, stay on disk
        kinds = (header.file_meta.get("MediaStorageSOPClassUID"), header.get("SOPClassUID"))
        is_image = any("Image Storage" in UID(kind).name for kind in kinds if kind)
        if header and not is_image:  # cut off before the header, any file has no kind
            return None
        if _is_cut_off(path, header) or not re.fullmatch(r"[0-9.]+", str(header.get("SeriesInstanceUID"))):
            raise WssegError(_DAMAGED.format(path))
    return header


def _is_cut_off(path: Path, header: Dataset) -> bool:
    """Whether a value is longer than its file; GDCM would set aside memory for it, gigabytes at times."""
    if header.file_meta.TransferSyntaxUID.is_deflated:
        return False
    size = path.stat().st_size
    raw = (element for element in header.values() if isinstance(element, RawDataElement))
    return any(e.length != _UNDEFINED_LENGTH and e.value_tell + e.length > size for e in raw)


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """One sentence for whatever a damaged file sets off in pydicom, which decodes values when asked."""
    try:
        yield
    except WssegError:
        raise
    except OSError as error:
        raise WssegError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:
        raise WssegError(_DAMAGED.format(path)) from error


def _check_kind(path: Path, header: Dataset) -> None:
    """Refuse multi-frame and colour images."""
    if "SharedFunctionalGroupsSequence" in header or (_numbers(header, "NumberOfFrames") > 1).any():
        raise WssegError(f"{path}: is a multi-frame image, convert it to one file per slice (dcm4che's emf2sf does)")
    photometric = header.get("PhotometricInterpretation")
    if photometric is None:
        raise WssegError(f"{path}: PhotometricInterpretation is missing, the file may be cut off")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise WssegError(f"{path}: is a colour image ({photometric!r}), expected grey values")


def _drop_pixels(path: Path, header: Dataset, pixels: int) -> None:
    """Take the pixel data out of a header, if they are whole in the file; GDCM would make up the rest."""
    needed = pixels * int(_needed(path, header, "BitsAllocated", 1)[0]) // 8
    found = [element for element in header.values() if element.tag == _PIXEL_DATA]  # as in the file, unread
    whole = bool(found) and needed > 0 and found[0].length >= needed
    if whole and found[0].length == _UNDEFINED_LENGTH:
        whole = _fragments_end(path, found[0].value_tell)
    if not whole:
        raise WssegError(f"{path}: its pixels are not all there, the file may be cut off")
    del header[_PIXEL_DATA]


def _fragments_end(path: Path, start: int) -> bool:
    """Whether the fragments of compressed pixels, each a tag, a length and so many bytes, reach their delimiter."""
    with path.open("rb") as file:
        file.seek(start)
        while (head := file.read(8))[:4] == b"\xfe\xff\x00\xe0":
            file.seek(int.from_bytes(head[4:], "little"), os.SEEK_CUR)
    return head[:4] == b"\xfe\xff\xdd\xe0"


def _check_alike(one: _Slice, other: _Slice) -> None:
    """Refuse slices that do not lie on one grid."""
    if one.shape != other.shape or not np.allclose(one.spacing, other.spacing, rtol=1e-4):
        raise WssegError(f"{other.path}: has another size or pixel spacing than {one.path.name}")
    if not np.allclose(one.axes, other.axes, atol=1e-4):
        raise WssegError(f"{other.path}: has another orientation than {one.path.name}, a scan has one")


def _step(slices: Sequence[_Slice], folder: Path) -> NDArray[np.float64]:
    """(3,) mm from one slice to the next; oblique to the plane for a tilted gantry.

    Args:
        slices: in the order of their positions.
        folder: for the error's sentence.
    """
    first = slices[0]
    if len(slices) == 1:
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
    return steps.mean(axis=0)


def _numbers(header: Dataset, keyword: str) -> NDArray[np.float64]:
    """The values of an attribute; none where it is missing or not a number."""
    try:
        values = np.atleast_1d(np.asarray(header.get(keyword), np.float64))
    except (TypeError, ValueError):
        return np.empty(0)
    return values[np.isfinite(values)]


def _needed(path: Path, header: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    """So many values of an attribute that must be there."""
    values = _numbers(header, keyword)
    if len(values) != count:
        raise WssegError(f"{path}: {keyword} is missing or wrong, is it a slice of a volume?")
    return values


def _frames(mask: Volume, scan: DicomScan) -> NDArray[np.integer]:
    """The mask's voxels as (slices, rows, columns) of the scan's files."""
    to_scan = np.linalg.inv(scan.volume.affine) @ mask.affine
    turn = nib.orientations.io_orientation(to_scan)
    voxels = nib.orientations.apply_orientation(mask.voxels, turn)
    left = to_scan @ nib.orientations.inv_ornt_aff(turn, mask.shape)
    if voxels.shape != scan.volume.shape or not np.allclose(left, np.eye(4), atol=1e-3):
        raise WssegError(f"mask: is not on the grid of series {scan.series_uid}")
    return voxels.T


def _segmentation(
    numbers: NDArray[np.uint8], names: Sequence[str], scan: DicomScan, segments: Segments
) -> Segmentation:
    """The SEG of segment numbers (slices, rows, columns), 0 for none."""
    author, version = segments.author, segments.version
    descriptions = [_description(k + 1, name, segments) for k, name in enumerate(names)]
    try:
        sources = _citable(scan)
        seg = Segmentation(
            source_images=sources,
            pixel_array=numbers,
            segmentation_type="BINARY",
            segment_descriptions=descriptions,
            series_instance_uid=generate_uid(),
            series_number=1000 + int(next(iter(_numbers(sources[0], "SeriesNumber")), 0)),
            series_description=f"{author} {version}"[:64],
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="wsseg",
            manufacturer_model_name=author,
            software_versions=version,
            device_serial_number=f"{author} {version}",
            content_label="SEGMENTATION",
            omit_empty_frames=False,
        )
    except Exception as error:  # a header's values are decoded only here, and highdicom checks them
        reason = " ".join(str(error).split()).rstrip(".")
        raise WssegError(
            f"series {scan.series_uid}: a DICOM SEG cannot refer to it ({reason}), write .nii.gz or .nrrd instead"
        ) from error
    seg.SeriesDate, seg.SeriesTime = seg.ContentDate, seg.ContentTime  # by which viewers order series
    seg.SpecificCharacterSet = "ISO_IR 192"  # highdicom copies names, but not how they are encoded
    return seg


def _citable(scan: DicomScan) -> list[Dataset]:
    """The headers, the first with what highdicom reads of it and archives leave out."""
    first = copy(scan.sources[0])
    for keyword in _MAY_BE_EMPTY:
        first.setdefault(keyword, "")
    if first.PatientSex not in ("M", "F", "O"):
        first.PatientSex = ""
    # Measured, since the header's may be missing, rounded or another quantity.
    first.SpacingBetweenSlices = DS(scan.volume.spacing[2], auto_format=True)
    if not len(_numbers(first, "SliceThickness")):
        first.SliceThickness = first.SpacingBetweenSlices
    return [first, *scan.sources[1:]]


def _description(number: int, name: str, segments: Segments) -> SegmentDescription:
    """One segment's name, meaning, colour and author."""
    label = segments.labels[name]
    category, kind = (Code(code.value, code.scheme, code.meaning) for code in (label.category, label.type))
    algorithm = AlgorithmIdentificationSequence(segments.author, codes.cid7162.ArtificialIntelligence, segments.version)
    how = "SEMIAUTOMATIC" if segments.edited else "AUTOMATIC"
    description = SegmentDescription(number, name[:64], category, kind, how, algorithm)
    # White is D65's, as for DCMTK (3D Slicer) and dcmjs (OHIF) when they turn it back into RGB.
    lab = rgb2lab(np.array(label.color) / 255)
    description.RecommendedDisplayCIELabValue = list(CIELabColor(*map(float, lab)).value)
    return description
