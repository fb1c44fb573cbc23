"""One file of a DICOM series: its header, where it lies, its pixels."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from wsseg.errors import WssegError
from wsseg.images.dicom.encapsulated import Picture, check_run_lengths, check_stream
from wsseg.images.limits import CountedReads, check_size, check_spacing

_FIRST_GROUPS = (b"\x02\0", b"\x08\0")
"""How a file begins that has no preamble: with its meta information or with its first attributes."""

_PIXEL_DATA = Tag("PixelData")

_UNDEFINED_LENGTH = 0xFFFFFFFF
"""Of a value that ends with a delimiter, as compressed pixels do."""

_DESCRIBING, _LONGEST = 0x28, 4 << 20
"""The last group of attributes that are read here, and the most bytes that one of them may have."""

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
            _check_values(path, header)
            said = _said(path, header)
            check_size((said.columns, said.rows), 4, path)
            _drop_pixels(path, header, said)
            axes = _needed(path, header, "ImageOrientationPatient", 6).reshape(2, 3)
            spacing = _needed(path, header, "PixelSpacing", 2)[::-1]
            position = _needed(path, header, "ImagePositionPatient", 3)
            gaps = [*numbers(header, "SpacingBetweenSlices"), *numbers(header, "SliceThickness")]
            header.pop("NumberOfFrames", None)  # 1; highdicom takes its presence for a multi-frame image
        if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
            raise WssegError(f"{path}: ImageOrientationPatient must be two perpendicular unit vectors")
        check_spacing(spacing, "PixelSpacing", path)
        thickness = next((abs(float(gap)) for gap in gaps if gap), 1.0)
        return cls(path, header, position, axes, spacing, thickness, (said.columns, said.rows))

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
        if image.GetSize() != (*self.shape, 1):
            raise WssegError(f"{self.path}: its compressed pixels are not of the size that Columns and Rows say")
        return sitk.GetArrayFromImage(image)[0]


def read_header(path: Path) -> Dataset | None:
    """The header of a DICOM image; None if the file is empty or something else."""
    with _sound(path):
        with path.open("rb") as file:
            start = file.read(132)
        bare = start[128:] != b"DICM" and start[:2] in _FIRST_GROUPS and start[3:4] == b"\0"
        if start[128:] != b"DICM" and not bare:
            cut_off = 0 < len(start) < 132 and not start[:128].strip(b"\0")
            if cut_off or (start and path.suffix.lower() == ".dcm"):
                raise WssegError(_DAMAGED.format(path))
            return None
        header = _parsed(path, bare)
        kinds = (header.file_meta.get("MediaStorageSOPClassUID"), header.get("SOPClassUID"))
        is_image = any("Image Storage" in UID(kind).name for kind in kinds if kind)
        if header and not is_image:  # cut off before the header, any file has no kind
            return None
        if _is_cut_off(path, header) or _is_overlong(header):
            raise WssegError(_DAMAGED.format(path))
        if not re.fullmatch(r"[0-9.]{1,64}", str(header.get("SeriesInstanceUID"))):
            raise WssegError(f"{path}: SeriesInstanceUID is missing or no UID, so its series is not known")
    return header


def _parsed(path: Path, bare: bool) -> FileDataset:
    """All attributes of a file, undecoded; longer values, pixels above all, stay on disk."""
    with CountedReads.of(path) as file:
        if not bare:
            preamble = read_preamble(file, False)
            meta = FileMetaDataset(read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2))
            if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                unpacked = _inflated(file, path)
                counted = CountedReads(BytesIO(unpacked), path, len(unpacked))
                return FileDataset(str(path), read_dataset(counted, False, True), preamble, meta, False, True)
        file.seek(0)
        return dcmread(file, defer_size=4096, force=bare)


def _inflated(file: CountedReads, path: Path) -> bytes:
    """The rest of a deflated file, which pydicom would unpack whatever it holds.

    Raises:
        WssegError: it is more than a scan may be.
        zlib.error: it is damaged.
    """
    unpacking, found = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    while not unpacking.eof and (packed := unpacking.unconsumed_tail or file.read(1 << 16)):
        found += unpacking.decompress(packed, 1 << 20)
        check_size((len(found) // 4,), 4, path)
    return bytes(found)


def _is_cut_off(path: Path, header: Dataset) -> bool:
    """Whether a value is longer than its file; GDCM would set aside memory for it, gigabytes at times."""
    if UID(header.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)).is_deflated:
        return False
    size = path.stat().st_size
    raw = (element for element in header.values() if isinstance(element, RawDataElement))
    return any(e.length != _UNDEFINED_LENGTH and e.value_tell + e.length > size for e in raw)


def _is_overlong(header: Dataset) -> bool:
    """Whether what describes an image is megabytes; read as the many values that it may hold, it would be gigabytes."""
    raw = (element for element in header.values() if isinstance(element, RawDataElement))
    return any(e.tag.group <= _DESCRIBING and e.length > _LONGEST and e.length != _UNDEFINED_LENGTH for e in raw)


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
    """Refuse multi-frame and colour images, and several slices in one picture."""
    if "MOSAIC" in np.atleast_1d(header.get("ImageType", [])):
        raise WssegError(f"{path}: is a Siemens MOSAIC, many slices in one picture, convert it (dcm2niix does)")
    if "SharedFunctionalGroupsSequence" in header or (numbers(header, "NumberOfFrames") > 1).any():
        raise WssegError(f"{path}: is a multi-frame image, convert it to one file per slice (dcm4che's emf2sf does)")
    photometric = header.get("PhotometricInterpretation")
    if photometric is None:
        raise WssegError(f"{path}: PhotometricInterpretation is missing, the file may be cut off")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise WssegError(f"{path}: is a colour image ({photometric!r}), expected grey values")


def _check_values(path: Path, header: Dataset) -> None:
    """Refuse attributes that would turn the stored pixels into other values."""
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if keyword in header and not _is_one_number(header, keyword, zero=keyword != "RescaleSlope"):
            raise WssegError(f"{path}: {keyword} is {str(header.get(keyword))[:40]!r}, expected a number")
    between = header.get("SpacingBetweenSlices")
    if between not in (None, "") and not _is_one_number(header, "SpacingBetweenSlices"):  # GDCM fails on it
        raise WssegError(f"{path}: SpacingBetweenSlices is {str(between)[:40]!r}, expected a number, or nothing")
    allocated, stored, high, signed = (
        int(_needed(path, header, name, 1)[0])
        for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    )
    if int(next(iter(numbers(header, "SamplesPerPixel")), 1)) != 1:
        raise WssegError(f"{path}: SamplesPerPixel is {header.SamplesPerPixel}, expected 1 for grey values")
    if allocated not in (8, 16, 32):
        raise WssegError(f"{path}: BitsAllocated is {allocated}, expected 8, 16 or 32")
    if not 1 <= stored <= allocated or high != stored - 1:
        raise WssegError(f"{path}: BitsStored {stored} and HighBit {high} do not fit BitsAllocated {allocated}")
    if signed not in (0, 1):
        raise WssegError(f"{path}: PixelRepresentation is {signed}, expected 0 or 1")


def _said(path: Path, header: Dataset) -> Picture:
    """What a header says of its picture, which is grey."""
    columns, rows, bits = (int(_needed(path, header, name, 1)[0]) for name in ("Columns", "Rows", "BitsStored"))
    return Picture(columns, rows, 1, bits)


def _drop_pixels(path: Path, header: Dataset, said: Picture) -> None:
    """Take the pixel data out of a header, if they are whole in the file; GDCM would make up the rest."""
    pixels, size = said.columns * said.rows, int(_needed(path, header, "BitsAllocated", 1)[0]) // 8
    needed = pixels * size
    found = [element for element in header.values() if element.tag == _PIXEL_DATA]  # as in the file, unread
    whole = bool(found) and needed > 0 and found[0].length >= needed
    if whole and found[0].length == _UNDEFINED_LENGTH:
        if header.file_meta.get("TransferSyntaxUID") == RLELossless:
            check_run_lengths(path, found[0].value_tell, pixels, size)
        else:
            check_stream(path, found[0].value_tell, said)
    elif whole and not _padded(path, header, found[0].value_tell + needed, found[0].length - needed):
        raise WssegError(f"{path}: BitsAllocated, Rows and Columns say {needed} bytes of pixels, it has more")
    if not whole:
        raise WssegError(f"{path}: its pixels are not all there, the file may be cut off")
    del header[_PIXEL_DATA]


def _padded(path: Path, header: Dataset, start: int, count: int) -> bool:
    """Whether what follows the last pixel is padding: the byte that makes a length even, or zeros."""
    if count <= 1:
        return True
    if UID(header.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)).is_deflated:
        return False  # its places are not those of the file
    with path.open("rb") as file:
        file.seek(start)
        return not file.read(count).strip(b"\0")


def numbers(header: Dataset, keyword: str) -> NDArray[np.float64]:
    """The values of an attribute; none where it is missing or not a number."""
    given = header.get(keyword)
    if "_" in str(given):  # Python reads 1_0 as 10, DICOM and GDCM do not
        return np.empty(0)
    try:
        values = np.atleast_1d(np.asarray(given, np.float64))
    except (TypeError, ValueError):
        return np.empty(0)
    return values[np.isfinite(values)]


def _is_one_number(header: Dataset, keyword: str, zero: bool = False) -> bool:
    """Whether an attribute is one number, which may be 0 only where that is said."""
    values = numbers(header, keyword)
    single = not isinstance(header.get(keyword), MultiValue) and len(values) == 1
    return single and (zero or bool(values[0]))


def _needed(path: Path, header: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    """So many values of an attribute that must be there."""
    values = numbers(header, keyword)
    if len(values) != count:
        raise WssegError(f"{path}: {keyword} is missing or wrong, is it a slice of a volume?")
    return values
