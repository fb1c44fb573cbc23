"""Small scans of noise, written as someone else would have written them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from wsseg.images.formats.nifti import NIFTI
from wsseg.images.formats.nrrd import NRRD

VOLUMES = (*NIFTI, *NRRD)
"""Endings of files of volumes."""


def noise(shape: tuple[int, ...], dtype: str = "int16", seed: int = 0) -> np.ndarray:
    """Whole numbers from 0 to 99."""
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def save(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """A NIfTI file as someone else would have written it."""
    image = nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine, dtype=voxels.dtype)
    nib.save(image, path)
    return path
