"""Every file format of scans and masks in one table: what reads it, what reads its header, what writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import whole_file
from wsseg.images.formats.nifti import NIFTI, read_nifti, read_nifti_grid, write_nifti_mask
from wsseg.images.formats.nrrd import NRRD, read_nrrd, read_nrrd_grid, write_nrrd_mask
from wsseg.images.formats.picture import PICTURES, read_pixels, read_pixels_grid, write_png
from wsseg.images.volume import Volume


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        endings: of file names, in lower case.
        read: the whole file.
        read_grid: its header; voxels are all 0.
        write: a uint8 mask.
        masks: those of the endings that masks are written with.
        picture: whether it holds pictures, which have no millimetres.
    """

    endings: tuple[str, ...]
    read: Callable[[Path], Volume]
    read_grid: Callable[[Path], Volume]
    write: Callable[[Path, Volume], None]
    masks: tuple[str, ...]
    picture: bool = False


FORMATS = (
    Format(NIFTI, read_nifti, read_nifti_grid, write_nifti_mask, NIFTI),
    Format(NRRD, read_nrrd, read_nrrd_grid, write_nrrd_mask, NRRD),
    Format(PICTURES, read_pixels, read_pixels_grid, write_png, (".png",), picture=True),
)

EXTENSIONS = tuple(ending for format in FORMATS for ending in format.endings)
"""File name endings that :func:`read_volume` knows."""

MASKS = tuple(ending for format in FORMATS for ending in format.masks)
"""File name endings that :func:`write_mask` knows; PNG is for masks of pictures."""


def case_name(path: Path) -> str:
    """File name without its volume extension."""
    for extension in EXTENSIONS:
        if path.name.lower().endswith(extension):
            return path.name[: -len(extension)]
    return path.name


def is_picture(path: Path) -> bool:
    """Whether a file name is that of a picture."""
    return path.name.lower().endswith(tuple(e for format in FORMATS if format.picture for e in format.endings))


def read_volume(path: Path) -> Volume:
    """Read an image of any real type.

    Args:
        path: a .nii, .nii.gz or .nrrd file, 3-D, or 2-D as a single slice; or a
            .png, .jpg or .tif picture, whose colours are kept;
            :func:`~wsseg.images.volume.hung` shows its slice upright.

    Raises:
        WssegError: missing, unreadable, truncated, not an image, not 3-D,
            empty, complex, or colour in a format other than pictures.
    """
    return _format_of(path).read(path)


def read_grid(path: Path) -> Volume:
    """:func:`read_volume` without the voxels: all are 0, and of NIfTI and pictures none is read."""
    return _format_of(path).read_grid(path)


def write_mask(path: Path, mask: Volume, classes: int | None = None) -> None:
    """Write a uint8 mask in the format of the extension, whole or not at all.

    Args:
        path: .nii.gz, .nii, .nrrd, or of a picture .png.
        mask: of classes, or any other values.
        classes: how many there can be; a PNG shows the only one as 255, and
            else the values as they are.

    Raises:
        WssegError: unknown type, a PNG of what is no picture, or not writable.
    """
    check_extension(path)
    check_hangs(path, mask)
    if is_picture(path) and classes == 1:
        mask = mask.like(255 * (mask.voxels > 0))
    write = next(format.write for format in FORMATS if path.name.lower().endswith(format.masks))
    with whole_file(path) as part:
        write(part, mask)


def check_extension(path: Path) -> None:
    """Refuse a file name that no volume can be written to."""
    if not path.name.lower().endswith(MASKS):
        raise WssegError(f"{path}: unknown file type for a mask, expected {', '.join(MASKS)}")


def check_hangs(path: Path, scan: Volume) -> None:
    """Refuse a PNG for a scan that is no picture: its stored order is not how it hangs."""
    if is_picture(path) and not scan.picture:
        raise WssegError(f"{path}: a PNG is for masks of pictures ({', '.join(PICTURES)}), use .nii.gz for this scan")


def _format_of(path: Path) -> Format:
    """The format of a file that is there."""
    try:
        there = path.exists()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise WssegError(f"{path}: cannot be read ({error.strerror})") from error
    if not there:
        raise NotFoundError(f"{path}: no such file")
    for format in FORMATS:
        if path.name.lower().endswith(format.endings):
            return format
    raise WssegError(f"{path}: unknown file type, expected {', '.join(EXTENSIONS)} or a DICOM folder")
