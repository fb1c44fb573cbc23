"""A scan with its geometry: NIfTI and NRRD in and out, slices out and back."""

from __future__ import annotations

import gzip
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import whole_file
from wsseg.images.picture import PICTURES, read_pixels, read_size, write_png

NIFTI = (".nii.gz", ".nii")
NRRD = (".nrrd",)
EXTENSIONS = (*NIFTI, *NRRD, *PICTURES)
"""File name endings that :func:`read_volume` knows."""

MASKS = (*NIFTI, *NRRD, ".png")
"""File name endings that :func:`write_mask` knows; PNG is for masks of pictures."""

COARSE = 1.5
"""An axis is the slice axis where its spacing is this many times the others'."""

Scalar = TypeVar("Scalar", bound=np.generic)

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_UPRIGHT = _LPS
"""Affine of a picture: columns run to the patient's left and rows to the back, so that viewers show it upright."""

_DAMAGED = (
    *(ImageFileError, HeaderDataError, WrapStructError, zlib.error),
    *(OSError, EOFError, ValueError, OverflowError, MemoryError),
)
"""What nibabel raises for files that are no NIfTI, cut off, or with nonsense in the header."""

# Their remarks on a damaged header would stand beside our one sentence.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
sitk.ProcessObject.GlobalWarningDisplayOff()


@dataclass(frozen=True)
class Volume:
    """A scan on its own grid.

    Attributes:
        voxels: (x, y, slice) as stored, any real type; or of a colour picture
            (columns, rows, 1, 3), uint8, red, green, blue.
        affine: 4 x 4, voxel index to millimetres, RAS+; a picture's pixels
            count as 1 mm.
        nifti: the header it was read with, so that a mask written for it keeps
            both of NIfTI's transforms; None for other formats.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    nifti: nib.Nifti1Header | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along each stored axis."""
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(sizes[0]), float(sizes[1]), float(sizes[2]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each stored axis, colours not counted."""
        x, y, slices = self.voxels.shape[:3]
        return (x, y, slices)

    @property
    def colour(self) -> bool:
        """Whether it is a colour picture."""
        return self.voxels.ndim == 4

    @property
    def picture(self) -> bool:
        """Whether it lies as pictures do, so that what is stored is upright: read from one, or a mask of one."""
        return self.nifti is None and self.shape[2] == 1 and np.array_equal(self.affine, _UPRIGHT)

    def like(self, voxels: NDArray[np.generic]) -> Volume:
        """Other voxels, one value each, on this scan's grid."""
        if voxels.shape != self.shape:
            raise ValueError(f"voxels are {voxels.shape}, the grid is {self.shape}")
        return Volume(voxels, self.affine, self.nifti)


def case_name(path: Path) -> str:
    """File name without its volume extension."""
    for extension in EXTENSIONS:
        if path.name.lower().endswith(extension):
            return path.name[: -len(extension)]
    return path.name


def read_volume(path: Path) -> Volume:
    """Read an image of any real type.

    Args:
        path: a .nii, .nii.gz or .nrrd file, 3-D, or 2-D as a single slice; or a
            .png, .jpg or .tif picture, whose colours are kept; :func:`hung` shows
            its slice upright.

    Raises:
        WssegError: missing, unreadable, truncated, not an image, not 3-D,
            empty, complex, or colour in a format other than pictures.
    """
    _check_there(path)
    if path.name.lower().endswith(NIFTI):
        volume = _read_nifti(path)
    elif path.name.lower().endswith(NRRD):
        volume = _read_nrrd(path)
    elif path.name.lower().endswith(PICTURES):
        volume = Volume(read_pixels(path), _UPRIGHT)
    else:
        raise WssegError(f"{path}: unknown file type, expected {', '.join(EXTENSIONS)} or a DICOM folder")
    return volume


def read_grid(path: Path) -> Volume:
    """:func:`read_volume` without the voxels: all are 0, and of NIfTI and pictures none is read."""
    _check_there(path)
    if path.name.lower().endswith(NIFTI):
        return _read_nifti(path, empty=True)
    if path.name.lower().endswith(PICTURES):
        return Volume(np.broadcast_to(np.uint8(0), (*read_size(path), 1)), _UPRIGHT)
    volume = read_volume(path)
    return volume.like(np.broadcast_to(np.uint8(0), volume.shape))


def read_scan(path: Path) -> Volume:
    """:func:`read_volume`, and the voxels checked as a scan to be segmented."""
    volume = read_volume(path)
    check_scan(volume, path)
    return volume


def check_scan(volume: Volume, source: object) -> None:
    """Refuse voxels that no method can segment: not finite as float32, or constant."""
    with np.errstate(over="ignore"):
        low, high = np.float32(volume.voxels.min()), np.float32(volume.voxels.max())
    if not np.isfinite([low, high]).all():
        raise WssegError(f"{source}: holds NaN or infinite voxels")
    if low == high:
        raise WssegError(f"{source}: every voxel is {low:g}, there is nothing to segment")


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
    with whole_file(path) as part:
        if path.name.lower().endswith(NIFTI):
            nib.save(_as_nifti(mask), part)
        elif path.name.lower().endswith(NRRD):
            _write_nrrd(_as_itk(mask), part)
        else:
            write_png(part, mask.voxels, only_class=classes == 1)


def nifti_bytes(mask: Volume) -> bytes:
    """A uint8 volume as the content of a .nii.gz file."""
    return gzip.compress(_as_nifti(mask).to_bytes(), compresslevel=1)


def check_extension(path: Path) -> None:
    """Refuse a file name that no volume can be written to."""
    if not path.name.lower().endswith(MASKS):
        raise WssegError(f"{path}: unknown file type for a mask, expected {', '.join(MASKS)}")


def check_hangs(path: Path, scan: Volume) -> None:
    """Refuse a PNG for a scan that is no picture: its stored order is not how it hangs."""
    if path.name.lower().endswith(PICTURES) and not scan.picture:
        raise WssegError(f"{path}: a PNG is for masks of pictures ({', '.join(PICTURES)}), use .nii.gz for this scan")


@dataclass(frozen=True)
class SliceGrid:
    """How a volume is cut into slices, and how slices become a volume again.

    Slices are taken in the closest canonical (RAS+) orientation, so that the
    network always sees the patient the same way round: along the one axis that
    is a single voxel long, else along the axis of coarsest spacing where that
    is clear, else along ``default_axis``.
    """

    orientation: NDArray[np.float64]
    axis: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, volume: Volume, default_axis: int = 2) -> SliceGrid:
        """The grid of a volume; ``default_axis`` counts 0, 1, 2 for R, A, S."""
        orientation = nib.orientations.io_orientation(volume.affine)
        world = orientation[:, 0].astype(int)
        single = world[np.array(volume.shape) == 1]
        if len(single) == 1:
            return cls(orientation, int(single[0]), volume.shape)
        spacing = np.empty(3)
        spacing[world] = volume.spacing
        order = np.argsort(spacing)
        clear = spacing[order[2]] >= COARSE * spacing[order[1]]
        return cls(orientation, int(order[2]) if clear else default_axis, volume.shape)

    def cut(self, voxels: NDArray[Scalar]) -> NDArray[Scalar]:
        """(x, y, slice) as stored to (slices, rows, columns) in RAS+ order; colours stay last."""
        canonical = nib.orientations.apply_orientation(voxels, self.orientation)
        return np.moveaxis(canonical, self.axis, 0)

    def join(self, slices: NDArray[Scalar]) -> NDArray[Scalar]:
        """Inverse of :meth:`cut`, bit for bit."""
        canonical = np.moveaxis(slices, 0, self.axis)
        identity = np.array([[0, 1], [1, 1], [2, 1]])
        back = nib.orientations.ornt_transform(identity, self.orientation)
        stored = nib.orientations.apply_orientation(canonical, back)
        return np.ascontiguousarray(stored)

    @property
    def stored_axis(self) -> int:
        """The stored axis that slices run along."""
        return int(np.flatnonzero(self.orientation[:, 0] == self.axis)[0])

    @property
    def plane_axes(self) -> tuple[int, int]:
        """The stored axes that rows and columns of :meth:`cut` run along."""
        stored = [int(np.flatnonzero(self.orientation[:, 0] == axis)[0]) for axis in range(3) if axis != self.axis]
        return (stored[0], stored[1])

    @property
    def reversed(self) -> bool:
        """Whether slice 0 of :meth:`cut` is the last along the stored axis."""
        return bool(self.orientation[self.stored_axis, 1] < 0)


def hung(planes: NDArray[Scalar], axes: tuple[int, int] = (0, 1)) -> NDArray[Scalar]:
    """A slice of :meth:`SliceGrid.cut`, rows to the left or front, columns up or back, as a picture (down, right).

    The same again is the way back. ``axes`` are those of rows and columns.
    """
    return np.flip(planes, axes).swapaxes(*axes)


def _check_there(path: Path) -> None:
    try:
        there = path.exists()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise WssegError(f"{path}: cannot be read ({error.strerror})") from error
    if not there:
        raise NotFoundError(f"{path}: no such file")


def _read_nifti(path: Path, empty: bool = False) -> Volume:
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):  # Nifti2 is a subclass
            raise WssegError(f"{path}: not a NIfTI image")
        kind = image.get_data_dtype()
        if kind.fields is not None:
            raise WssegError(f"{path}: is a colour image, expected grey values")
        if kind.kind == "c":
            raise WssegError(f"{path}: holds complex values, expected real ones")
        shape = _shape_3d(image.shape, path)
        if empty:
            return Volume(np.broadcast_to(np.uint8(0), shape), _affine(image.affine, path), image.header)
        scaled = image.dataobj.slope not in (1, None) or image.dataobj.inter not in (0, None)
        voxels = image.get_fdata(dtype=np.float32) if scaled else np.asanyarray(image.dataobj)
    except _DAMAGED as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WssegError(f"{path}: cannot be read as an image, it may be damaged ({reason})") from error
    return Volume(np.ascontiguousarray(voxels).reshape(shape), _affine(image.affine, path), image.header)


def _read_nrrd(path: Path) -> Volume:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WssegError(f"{path}: cannot be read as an image, it may be damaged ({reason})") from error
    return from_itk(image, path)


def from_itk(image: sitk.Image, source: Path) -> Volume:
    """A volume from a SimpleITK image, whose world is LPS+."""
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise WssegError(f"{source}: is a colour, vector or 4-D image, expected grey values in 3-D")
    voxels = sitk.GetArrayFromImage(image).T
    if voxels.dtype.kind == "c":
        raise WssegError(f"{source}: holds complex values, expected real ones")
    shape = _shape_3d(voxels.shape, source)
    size = image.GetDimension()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(size, size)
    keep = min(size, 3)
    affine[:keep, :keep] = (direction @ np.diag(image.GetSpacing()))[:keep, :keep]
    affine[:keep, 3] = image.GetOrigin()[:keep]
    return Volume(np.ascontiguousarray(voxels).reshape(shape), _affine(_LPS @ affine, source))


def _shape_3d(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    if 0 in shape:
        raise WssegError(f"{path}: is empty, its size is {' x '.join(map(str, shape))}")
    longer = shape[3:]
    if len(shape) < 2 or any(n != 1 for n in longer):
        raise WssegError(f"{path}: has {len(shape)} dimensions ({' x '.join(map(str, shape))}), expected 3")
    return (shape[0], shape[1], shape[2] if len(shape) > 2 else 1)


def _affine(affine: NDArray[np.float64] | None, path: Path) -> NDArray[np.float64]:
    if affine is None or not np.isfinite(affine).all() or not _spans(affine[:3, :3]):
        raise WssegError(f"{path}: its affine is not a valid transform to millimetres")
    return np.asarray(affine, np.float64)


def _spans(axes: NDArray[np.float64]) -> bool:
    """Whether the three axes (columns) have a length each and do not lie in one plane."""
    lengths = np.linalg.norm(axes, axis=0)
    return bool((lengths > 0).all() and abs(np.linalg.det(axes / lengths)) > 1e-6)


def _as_nifti(mask: Volume) -> nib.Nifti1Image:
    kind = nib.Nifti2Image if isinstance(mask.nifti, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(mask.voxels.astype(np.uint8), mask.affine)
    if mask.nifti is not None:
        # Both transforms and their codes as the scan has them, bit for bit.
        header = mask.nifti
        image.header["pixdim"] = header["pixdim"]
        for field in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"):
            image.header[field] = header[field]
        for field in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"):
            image.header[field] = header[field]
    return image


def _write_nrrd(image: sitk.Image, path: Path) -> None:
    """Write a uint8 image, and look whether all of it is there.

    What ITK cannot write when it closes a file, as on a full disk, it drops in silence.
    """
    sitk.WriteImage(image, str(path), useCompression=True)
    try:
        voxels = gzip.decompress(path.read_bytes().partition(b"\n\n")[2])
    except (EOFError, zlib.error) as error:
        raise OSError("the file is cut off, the disk may be full") from error
    if len(voxels) != image.GetNumberOfPixels():
        raise OSError("the file is cut off, the disk may be full")


def _as_itk(mask: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.voxels.T, np.uint8))
    affine = _LPS @ mask.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image
