"""NIfTI in and out.

The header is read and checked before anything is set aside for the voxels, and
the voxels must be exactly those that it says.
"""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.images.limits import check_size, check_spacing, opened, read_last, skip, unpacked
from wsseg.images.volume import Volume, checked_affine, shape_3d

NIFTI = (".nii.gz", ".nii")
"""File name endings of NIfTI."""

SIZES_DIFFER = 0.05
"""Voxel sizes by the sform and by ``pixdim`` may differ by this part; ITK, and so 3D Slicer, believes the latter."""

_ROUNDING = 1e-5
"""Sizes that differ by this part are the same, stored in single precision."""

_TURNED = 0.02
"""Directions of two transforms to one space may differ by this length of unit vectors, about a degree."""

_KINDS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
"""A header by its length, which is the first number in it."""

_FARTHEST_BYTE = 1 << 26
"""That voxels may begin at: what is before them is unpacked too."""

_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres of NIfTI's units: unknown, which people mean as millimetres, metre, millimetre, micron."""

# Its remarks on a damaged header would stand beside our one sentence.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


def read_nifti(path: Path, sizes_from_pixdim: bool = False) -> Volume:
    """A scan of any real type with its header.

    Args:
        path: of the file.
        sizes_from_pixdim: ``pixdim`` is right about the size of voxels where
            the affine says another one; else such a file is refused.

    Raises:
        WssegError: the file is damaged, or its header contradicts itself or the voxels.
    """
    with _opened(path) as stream:
        header = _read_header(stream, path)
        shape, affine = _shape(header, path), _affine(header, path, sizes_from_pixdim)
        voxels = _voxels(stream, header, (*shape, 1), path)
    return Volume(voxels[0], affine, header)


def read_nifti_frames(path: Path) -> list[Volume]:
    """The scans (x, y, slice) of a 4-D file, one for each step of its last axis; of a 3-D file the only one.

    Raises:
        WssegError: as :func:`read_nifti`.
    """
    with _opened(path) as stream:
        header = _read_header(stream, path)
        times = max(1, int(header["dim"][4])) if int(header["dim"][0]) == 4 else 1
        if times > 1:
            header["dim"][0], header["dim"][4] = 3, 1
        shape, affine = _shape(header, path), _affine(header, path)
        voxels = _voxels(stream, header, (*shape, times), path)
    return [Volume(frame, affine, header) for frame in voxels]


def _voxels(
    stream: BinaryIO, header: nib.Nifti1Header, shape: tuple[int, int, int, int], path: Path
) -> NDArray[np.generic]:
    """What follows the header of a file: (times, x, y, slices) of a shape (x, y, slices, times)."""
    slope, intercept = _scaling(header, path)
    kind = header.get_data_dtype()
    check_size((*shape[:2], shape[2] * shape[3]), kind.itemsize, path)
    skip(stream, int(header["vox_offset"]) - len(header.binaryblock), path)
    stored = read_last(stream, math.prod(shape) * kind.itemsize, path)
    voxels = np.moveaxis(np.frombuffer(stored, kind).reshape(shape, order="F"), 3, 0)
    voxels = _turned_over(voxels, kind.newbyteorder("="))
    if (slope, intercept) != (1, 0):
        with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is refused with the scan
            voxels = (voxels * slope + intercept).astype(np.float32)
    return voxels


def _turned_over(stored: NDArray[Any], kind: np.dtype) -> NDArray[Any]:
    """(times, x, y, slices) that lie x first as C has it; row by row takes a fifth of the time of all at once."""
    turned = np.empty(stored.shape, kind)
    for y in range(stored.shape[2]):
        turned[:, :, y] = stored[:, :, y]
    return turned


def read_nifti_planes(path: Path, count: int) -> NDArray[np.generic] | None:
    """The first planes (x, y, count) along the third stored axis, of a file that is read no further.

    Returns:
        None where the file's scale makes them depend on more than themselves.

    Raises:
        WssegError: the file is damaged up to there, or its header contradicts itself.
    """
    with _opened(path) as stream:
        header = _read_header(stream, path)
        (x, y, slices), kind = _shape(header, path), header.get_data_dtype()
        check_size((x, y, slices), kind.itemsize, path)
        if _scaling(header, path) != (1, 0) or kind.kind not in "iu" or kind.itemsize > 2:
            return None
        skip(stream, int(header["vox_offset"]) - len(header.binaryblock), path)
        wanted = x * y * min(count, slices) * kind.itemsize
        stored = stream.read(wanted)
    if len(stored) < wanted:
        raise WssegError(f"{path}: cannot be read as an image, it is cut off within its voxels")
    return np.frombuffer(stored, kind).reshape((x, y, -1), order="F").astype(kind.newbyteorder("="))


def read_nifti_grid(path: Path) -> Volume:
    """:func:`read_nifti` without the voxels: all are 0, and none is read."""
    with _opened(path) as stream:
        header = _read_header(stream, path)
    shape = _shape(header, path)
    check_size(shape, header.get_data_dtype().itemsize, path)
    return Volume(np.broadcast_to(np.uint8(0), shape), _affine(header, path), header)


def write_nifti(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write (x, y, slice) as a NIfTI file in millimetres, whole or not at all."""
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as part:
        nib.save(image, part)


def write_nifti_mask(path: Path, mask: Volume) -> None:
    """Write a mask as uint8, with both transforms of the scan that it is of."""
    nib.save(_as_nifti(mask), path)


def nifti_bytes(mask: Volume) -> bytes:
    """A uint8 volume as the content of a .nii.gz file."""
    return gzip.compress(_as_nifti(mask).to_bytes(), compresslevel=1)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    packed = path.name.lower().endswith(".gz")
    with opened(path) as file, unpacked(file, path) if packed else nullcontext(file) as stream:
        yield stream


@np.errstate(invalid="ignore")  # a NaN that signals makes numpy warn wherever it is copied; one that counts is refused
def _read_header(stream: BinaryIO, path: Path) -> nib.Nifti1Header:
    """The header at the beginning of a file, in its own byte order, of a kind that can be read."""
    start = stream.read(4)
    orders = ("little", "big")
    length = next((n for order in orders if (n := int.from_bytes(start, order)) in _KINDS), None)  # type: ignore[arg-type]
    if length is None:
        raise WssegError(f"{path}: cannot be read as an image, it may be damaged (sizeof_hdr is neither 348 nor 540)")
    block = start + stream.read(length - 4)
    if len(block) < length:
        raise WssegError(f"{path}: cannot be read as an image, it is cut off within its header")
    try:
        _KINDS[length](block)  # nibabel's own checks; what it mends in silence is looked at below
        header = _KINDS[length](block, check=False)
        kind = header.get_data_dtype()
    except (HeaderDataError, WrapStructError, ValueError, OverflowError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WssegError(f"{path}: cannot be read as an image, it may be damaged ({reason})") from error
    if not header["magic"].item().startswith(b"n+"):
        raise WssegError(f"{path}: magic is not that of a NIfTI file with its voxels in it")
    if kind.fields is not None:
        raise WssegError(f"{path}: is a colour image, expected grey values")
    if kind.kind == "c":
        raise WssegError(f"{path}: holds complex values, expected real ones")
    if int(header["bitpix"]) != 8 * kind.itemsize:
        raise WssegError(f"{path}: bitpix is {header['bitpix']}, its datatype {kind.name} has {8 * kind.itemsize}")
    offset = float(header["vox_offset"])
    if not (offset.is_integer() and length + 4 <= offset <= _FARTHEST_BYTE):
        raise WssegError(f"{path}: vox_offset is {offset:g}, voxels begin at byte {length + 4} to {_FARTHEST_BYTE}")
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])  # old writers told directions by signs
    if header["pixdim"][0] == 0:  # which is 1 by NIfTI's rules
        header["pixdim"][0] = 1
    return header


def _shape(header: nib.Nifti1Header, path: Path) -> tuple[int, int, int]:
    """The size that ``dim`` says."""
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise WssegError(f"{path}: dim says {count} dimensions, expected 3")
    return shape_3d(tuple(int(n) for n in header["dim"][1 : count + 1]), path)


def _scaling(header: nib.Nifti1Header, path: Path) -> tuple[float, float]:
    """``scl_slope`` and ``scl_inter``, 1 and 0 where a slope of 0 says that there are none."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or (math.isnan(slope) and math.isnan(intercept)):  # nibabel writes NaN for none
        return 1.0, 0.0
    for field, value in (("scl_slope", slope), ("scl_inter", intercept)):
        if not math.isfinite(value):
            raise WssegError(f"{path}: {field} is {value}, expected a finite number")
    return slope, intercept


@np.errstate(invalid="ignore")
def _affine(header: nib.Nifti1Header, path: Path, sizes_from_pixdim: bool = False) -> NDArray[np.float64]:
    """Voxel index to millimetres, by the sform where there is one, else by the qform, else by ``pixdim`` alone."""
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM:
        raise WssegError(f"{path}: xyzt_units is {int(header['xyzt_units'])}, expected metres, millimetres or microns")
    sizes = _pixdim(header, path, _MM[unit])
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    affine = _transform(header.get_best_affine, path)
    affine[:3] *= _MM[unit]
    if sform <= 0:
        return checked_affine(affine, path, "pixdim")
    checked_affine(affine, path, "srow_x, srow_y and srow_z")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    scale = np.where(sizes > 0, sizes / lengths, 1)
    scale[np.abs(scale - 1) < _ROUNDING] = 1  # the affine stays as it is, bit for bit
    if not sizes_from_pixdim and (np.abs(1 / scale - 1) > SIZES_DIFFER).any():
        raise WssegError(
            f"{path}: contradicts itself, voxels are {_by(lengths)} mm by srow_x, srow_y and srow_z "
            f"and {_by(sizes)} mm by pixdim; 3D Slicer believes pixdim, save the scan there anew if that is right"
        )
    if not sizes_from_pixdim and sform == qform and (sizes > 0).all():
        turned = _transform(header.get_qform, path)[:3, :3] * _MM[unit]
        if np.abs(turned / sizes - affine[:3, :3] / lengths).max() > _TURNED:
            raise WssegError(f"{path}: contradicts itself, sform and qform lie in one space but turn the scan apart")
    affine[:3, :3] *= scale
    return affine


def _transform(get: object, path: Path) -> NDArray[np.float64]:
    """What a method of nibabel's header computes, which raises for nonsense."""
    try:
        return np.array(get(), np.float64)  # type: ignore[operator]
    except (HeaderDataError, ValueError) as error:
        raise WssegError(f"{path}: its affine is not a valid transform to millimetres ({error})") from error


def _pixdim(header: nib.Nifti1Header, path: Path, mm: float) -> NDArray[np.float64]:
    """Millimetres between voxels; 0 along an axis of one voxel says nothing, elsewhere it is wrong."""
    sizes = np.asarray(header["pixdim"][1:4], np.float64) * mm
    long = np.array([axis < int(header["dim"][0]) and int(header["dim"][axis + 1]) > 1 for axis in range(3)])
    if not np.isfinite(sizes).all():
        raise WssegError(f"{path}: pixdim is {_by(sizes)}, expected the voxels' size")
    check_spacing(sizes[long | (sizes > 0)], "pixdim", path)
    return sizes


def _by(sizes: NDArray[np.float64]) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def _as_nifti(mask: Volume) -> nib.Nifti1Image:
    voxels = mask.voxels.astype(np.uint8)
    if mask.nifti is None:
        return nib.Nifti1Image(voxels, mask.affine)
    # Both transforms, their codes and their unit as the scan has them, bit for bit.
    header = type(mask.nifti)()
    header.set_data_dtype(np.uint8)
    for field in ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"):
        header[field] = mask.nifti[field]
    for field in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
        header[field] = mask.nifti[field]
    header.set_data_shape(mask.shape)
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind(voxels, header.get_best_affine(), header)
