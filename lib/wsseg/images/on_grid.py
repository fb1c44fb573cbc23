"""Whether what was drawn on a scan fits the scan: the one check of masks, strokes and references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.images.formats.table import is_picture, read_volume
from wsseg.images.volume import Volume


def read_drawn(path: Path, scan: Volume, case: str = "its scan") -> Volume:
    """Read what somebody drew on a scan, on the scan's own grid.

    Args:
        path: of a mask or of strokes.
        scan: or its grid.
        case: how the scan is called in an error.

    Raises:
        WssegError: unreadable, in colours, or on another grid than the scan.
    """
    drawn = read_volume(path)
    if drawn.colour:
        raise WssegError(f"{path}: is a colour picture, a mask holds class values")
    if drawn.shape != scan.shape:
        raise WssegError(f"{path}: is on another grid than {case}, {_size(drawn)} voxels for {_size(scan)}")
    if not np.allclose(drawn.affine, scan.affine, atol=1e-2):
        raise WssegError(f"{path}: is on another grid than {case}, it lies elsewhere: their affines differ")
    return drawn


def classes_of(path: Path, drawn: Volume, classes: int) -> NDArray[np.integer]:
    """Class values of a mask from a file; in a picture the only class may be 255."""
    white = classes == 1 and is_picture(path)
    return np.where(drawn.voxels == 255, 1, drawn.voxels) if white else drawn.voxels


def read_mask(path: Path, scan: Volume, classes: int) -> NDArray[np.uint8]:
    """Read a complete mask on its scan's grid: 0 background, 1..N the classes.

    Raises:
        WssegError: as :func:`read_drawn`, or it holds another value.
    """
    values = classes_of(path, read_drawn(path, scan), classes)
    check_values(path, values, range(classes + 1), f"0 (background) and 1 to {classes}")
    return values.astype(np.uint8)


def check_values(path: Path, values: NDArray[np.generic], allowed: range | list[int], meaning: str) -> None:
    """Refuse other voxel values than are allowed.

    Args:
        meaning: of the allowed ones, for the error's sentence.
    """
    held = np.unique(values)
    if not np.isin(held, allowed).all():
        listed = ", ".join(f"{value:g}" for value in held[:12]) + (", ..." if len(held) > 12 else "")
        raise WssegError(f"{path}: holds {listed}, expected are {meaning}")


def _size(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))
