"""What all importers share: finding cases, reading with checks, writing our layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import whole_file
from wsseg.images.formats.nifti import NIFTI, read_nifti
from wsseg.images.volume import Volume
from wsseg.labels.space import LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, ListedPresence, read_presence, write_presence

Progress = Callable[[float], None]
"""Told the finished part of an import, in [0, 1]."""


def list_folder(source: Path) -> list[Path]:
    """What lies in a folder, sorted by name.

    Raises:
        WssegError: no such folder.
    """
    if not source.is_dir():
        raise NotFoundError(f"{source}: no such folder")
    return sorted(source.iterdir())


def case_folders(source: Path, prefix: str) -> list[Path]:
    """The folders of a release, one per case, by how their names begin.

    Raises:
        WssegError: no such folder, or none in it begins so.
    """
    found = [path for path in list_folder(source) if path.is_dir() and path.name.startswith(prefix)]
    if not found:
        raise WssegError(f"{source}: holds no folder {prefix}..., name the folder of the release that does")
    return found


def each(items: list[Path], progress: Progress) -> Iterator[Path]:
    """The items one by one; progress is told after each is done."""
    for done, item in enumerate(items, start=1):
        yield item
        progress(done / len(items))


def nifti_of(stem: Path) -> Path | None:
    """The file ``stem.nii.gz`` or ``stem.nii``, or None where there is neither."""
    files = (stem.with_name(stem.name + extension) for extension in NIFTI)
    return next((file for file in files if file.is_file()), None)


def read_mask(path: Path, scan: Volume, values: Iterable[int]) -> NDArray[np.uint8]:
    """A release's mask as uint8 (x, y, slice); its size counts alone, as releases keep no affines with their masks.

    Raises:
        WssegError: damaged, of another size than its scan, or with a voxel
            value that the release does not define.
    """
    voxels = read_nifti(path, sizes_from_pixdim=True).voxels
    if voxels.shape != scan.shape:
        raise WssegError(f"{path}: is {_size(voxels.shape)}, but its scan is {_size(scan.shape)}")
    strange = set(np.unique(voxels).tolist()) - set(values)
    if strange:
        raise WssegError(f"{path}: holds the value {min(strange)}, expected {', '.join(map(str, values))}")
    return voxels.astype(np.uint8)


def presence_there(out: Path, labels: LabelSpace) -> dict[str, ListedPresence]:
    """The rows that ``image_labels.csv`` holds already, so that a folder can take several releases."""
    path = out / PRESENCE_FILE
    return read_presence(path, labels) if path.exists() else {}


def save_presence(out: Path, cases: dict[str, ListedPresence], labels: LabelSpace) -> None:
    """Write ``image_labels.csv``, whole or not at all."""
    with whole_file(out / PRESENCE_FILE) as part:
        write_presence(part, cases, labels)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
