"""NIfTI in and out."""

from __future__ import annotations

import gzip
import logging
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.files import whole_file
from wsseg.images.volume import Volume, checked_affine, shape_3d

NIFTI = (".nii.gz", ".nii")
"""File name endings of NIfTI."""

_DAMAGED = (
    *(ImageFileError, HeaderDataError, WrapStructError, zlib.error),
    *(OSError, EOFError, ValueError, OverflowError, MemoryError),
)
"""What nibabel raises for files that are no NIfTI, cut off, or with nonsense in the header."""

# Its remarks on a damaged header would stand beside our one sentence.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


def read_nifti(path: Path) -> Volume:
    """A scan of any real type with its header."""
    return _read(path)


def read_nifti_grid(path: Path) -> Volume:
    """:func:`read_nifti` without the voxels: all are 0, and none is read."""
    return _read(path, empty=True)


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


def _read(path: Path, empty: bool = False) -> Volume:
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):  # Nifti2 is a subclass
            raise WssegError(f"{path}: not a NIfTI image")
        kind = image.get_data_dtype()
        if kind.fields is not None:
            raise WssegError(f"{path}: is a colour image, expected grey values")
        if kind.kind == "c":
            raise WssegError(f"{path}: holds complex values, expected real ones")
        shape = shape_3d(image.shape, path)
        if empty:
            return Volume(np.broadcast_to(np.uint8(0), shape), checked_affine(image.affine, path), image.header)
        scaled = image.dataobj.slope not in (1, None) or image.dataobj.inter not in (0, None)
        voxels = image.get_fdata(dtype=np.float32) if scaled else np.asanyarray(image.dataobj)
    except _DAMAGED as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise WssegError(f"{path}: cannot be read as an image, it may be damaged ({reason})") from error
    return Volume(np.ascontiguousarray(voxels).reshape(shape), checked_affine(image.affine, path), image.header)


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
