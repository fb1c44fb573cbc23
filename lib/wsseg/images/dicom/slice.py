"""One file of a DICOM series: its header, where it lies, its pixels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID

from wsseg.errors import WssegError

_PIXEL_DATA = Tag("PixelData")

_UNDEFINED_LENGTH = 0xFFFFFFFF
"""Of a value that ends with a delimiter, as compressed pixels do."""

_DAMAGED = "{}: is not a whole DICOM file, it may be damaged or cut off"


@dataclass(frozen=True)
class Slice:
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
    def of(cls, path: Path, header: Dataset) -> Slice:
        """A file as a slice, if it is one grey image with a place in the patient."""
        with _sound(path):
            _check_kind(path, header)
            rows, columns = (int(_needed(path, header, name, 1)[0]) for name in ("Rows", "Columns"))
            _drop_pixels(path, header, rows * columns)
            axes = _needed(path, header, "ImageOrientationPatient", 6).reshape(2, 3)
            spacing = _needed(path, header, "PixelSpacing", 2)[::-1]
            position = _needed(path, header, "ImagePositionPatient", 3)
            gaps = [*numbers(header, "SpacingBetweenSlices"), *numbers(header, "SliceThickness")]
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


def read_header(path: Path) -> Dataset | None:
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
    if "SharedFunctionalGroupsSequence" in header or (numbers(header, "NumberOfFrames") > 1).any():
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


def numbers(header: Dataset, keyword: str) -> NDArray[np.float64]:
    """The values of an attribute; none where it is missing or not a number."""
    try:
        values = np.atleast_1d(np.asarray(header.get(keyword), np.float64))
    except (TypeError, ValueError):
        return np.empty(0)
    return values[np.isfinite(values)]


def _needed(path: Path, header: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    """So many values of an attribute that must be there."""
    values = numbers(header, keyword)
    if len(values) != count:
        raise WssegError(f"{path}: {keyword} is missing or wrong, is it a slice of a volume?")
    return values
