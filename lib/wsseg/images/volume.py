"""A scan with its geometry: voxels on a grid, cut into slices and put together again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.images.limits import FARTHEST_MM, check_spacing

COARSE = 1.5
"""An axis is the slice axis where its spacing is this many times the others'."""

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""The patient coordinates of DICOM and NRRD (LPS+) to a volume's (RAS+), and back."""

FLAT = 0.5
"""The least volume that unit vectors along three axes may span: a gantry tilted by 60 degrees."""

UPRIGHT = LPS
"""Affine of a picture: columns run to the patient's left and rows to the back, so that viewers show it upright."""

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Made:
    """What a DICOM header says of how a scan was made, in its own words; "" where it says nothing.

    Attributes:
        modality: as MR.
        body_part: as HEART.
    """

    modality: str = ""
    body_part: str = ""


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
        made: of a DICOM series how; None for other formats, which do not say.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    nifti: nib.Nifti1Header | None = None
    made: Made | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxels along each stored axis."""
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        return (float(sizes[0]), float(sizes[1]), float(sizes[2]))

    @property
    def voxel_ml(self) -> float:
        """Millilitres of one voxel."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

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
        return self.nifti is None and self.shape[2] == 1 and np.array_equal(self.affine, UPRIGHT)

    def like(self, voxels: NDArray[np.generic]) -> Volume:
        """Other voxels, one value each, on this scan's grid."""
        if voxels.shape != self.shape:
            raise ValueError(f"voxels are {voxels.shape}, the grid is {self.shape}")
        return Volume(voxels, self.affine, self.nifti)


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

    def stored(self, index: int, count: int) -> int:
        """The number that a slice as cut, one of so many, has as the scan is stored."""
        return count - 1 - index if self.reversed else index

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


def shape_3d(shape: tuple[int, ...], path: Path) -> tuple[int, int, int]:
    """A size as three axes: one slice where there are two, trailing axes of length 1 dropped.

    Raises:
        WssegError: an axis is empty, or there are fewer or more of them.
    """
    if shape and min(shape) < 1:
        raise WssegError(f"{path}: is empty, its size is {' x '.join(map(str, shape))}")
    longer = shape[3:]
    if len(shape) < 2 or any(n != 1 for n in longer):
        raise WssegError(f"{path}: has {len(shape)} dimensions ({' x '.join(map(str, shape))}), expected 3")
    return (shape[0], shape[1], shape[2] if len(shape) > 2 else 1)


def checked_affine(affine: NDArray[np.float64], path: Path, field: str) -> NDArray[np.float64]:
    """The affine itself, if it leads to plausible millimetres.

    Args:
        field: of the header that it comes from.

    Raises:
        WssegError: it is not finite, flattens the grid, or its steps are no
            distance between voxels.
    """
    if not np.isfinite(affine).all() or np.abs(affine).max() > FARTHEST_MM * 1e6 or not _spans(affine[:3, :3]):
        raise WssegError(f"{path}: its affine is not a valid transform to millimetres ({field})")
    check_spacing(np.linalg.norm(affine[:3, :3], axis=0), field, path)
    return np.asarray(affine, np.float64)


def _spans(axes: NDArray[np.float64]) -> bool:
    """Whether the three axes (columns) have a length each and do not lie in one plane."""
    lengths = np.linalg.norm(axes, axis=0)
    return bool((lengths > 0).all() and abs(np.linalg.det(axes / lengths)) > FLAT)
