"""NRRD in and out."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)

from wsseg.errors import WssegError
from wsseg.images.volume import LPS, Volume, checked_affine, shape_3d

NRRD = (".nrrd",)
"""File name endings of NRRD."""

sitk.ProcessObject.GlobalWarningDisplayOff()  # its remarks on damage would stand beside our one sentence


def read_nrrd(path: Path) -> Volume:
    """A scan of any real type."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WssegError(f"{path}: cannot be read as an image, it may be damaged ({reason})") from error
    return from_itk(image, path)


def read_nrrd_grid(path: Path) -> Volume:
    """:func:`read_nrrd` with voxels that are all 0."""
    volume = read_nrrd(path)
    return volume.like(np.broadcast_to(np.uint8(0), volume.shape))


def write_nrrd_mask(path: Path, mask: Volume) -> None:
    """Write a mask as uint8, and look whether all of it is there.

    What ITK cannot write when it closes a file, as on a full disk, it drops in silence.
    """
    image = _as_itk(mask)
    sitk.WriteImage(image, str(path), useCompression=True)
    try:
        voxels = gzip.decompress(path.read_bytes().partition(b"\n\n")[2])
    except (EOFError, zlib.error) as error:
        raise OSError("the file is cut off, the disk may be full") from error
    if len(voxels) != image.GetNumberOfPixels():
        raise OSError("the file is cut off, the disk may be full")


def from_itk(image: sitk.Image, source: Path) -> Volume:
    """A volume from a SimpleITK image, whose world is LPS+."""
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise WssegError(f"{source}: is a colour, vector or 4-D image, expected grey values in 3-D")
    voxels = sitk.GetArrayFromImage(image).T
    if voxels.dtype.kind == "c":
        raise WssegError(f"{source}: holds complex values, expected real ones")
    shape = shape_3d(voxels.shape, source)
    size = image.GetDimension()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(size, size)
    keep = min(size, 3)
    affine[:keep, :keep] = (direction @ np.diag(image.GetSpacing()))[:keep, :keep]
    affine[:keep, 3] = image.GetOrigin()[:keep]
    return Volume(np.ascontiguousarray(voxels).reshape(shape), checked_affine(LPS @ affine, source))


def _as_itk(mask: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.voxels.T, np.uint8))
    affine = LPS @ mask.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image
