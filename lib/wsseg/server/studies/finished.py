"""Masks that somebody finished in a viewer: their values by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.images.formats.table import check_extension
from wsseg.images.on_grid import classes_of, read_drawn
from wsseg.images.volume import Volume
from wsseg.labels.space import LabelSpace

DRAWN_ON = "content"
"""The key, in the information of a mask, of what the scan contained that it was drawn on."""


@dataclass(frozen=True)
class FinishedMask:
    """A complete mask as a viewer sends it.

    Attributes:
        voxels: (x, y, slice).
        values: voxel value of each class by name.
    """

    voxels: NDArray[Any]
    values: dict[str, int]

    @classmethod
    def read(cls, scan: str, file: Path, info: Mapping[str, Any], grid: Volume) -> FinishedMask:
        """Read a finished mask.

        Args:
            scan: that it was drawn on.
            file: the mask; of a PNG the only class may be 255.
            info: with ``label_info`` as 3D Slicer sends it, see :func:`mask_values`.
            grid: of the scan.

        Raises:
            WssegError: unreadable, on another grid than the scan, of a type that
                keeps no values (JPEG), or nonsense in ``label_info``.
        """
        check_extension(file)
        drawn, values = read_drawn(file, grid, scan), mask_values(info)
        return cls(classes_of(file, drawn, len(values)), values)

    def of_classes(self, labels: LabelSpace) -> NDArray[np.uint8] | None:
        """The mask in the voxel values of some classes.

        None where it does not name all of them: those that are left out may be anywhere, so 0 would be wrong there.
        """
        if not set(labels.names) <= set(self.values):
            return None
        voxels = np.zeros(self.voxels.shape, np.uint8)
        for name in labels.names:
            voxels[self.voxels == self.values[name]] = labels.value(name)
        return voxels


def mask_values(info: Mapping[str, Any]) -> dict[str, int]:
    """Voxel values of a mask by name, from ``label_info`` of the request that brought it.

    3D Slicer exports segments as 1, 2, ... in their order, but counts all segments in
    ``idx``, those that it does not export too: so the order of ``idx`` counts, not its value.

    Raises:
        WssegError: not a list of objects with a ``name`` each.
    """
    given = info.get("label_info") or []
    if not isinstance(given, list) or not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in given):
        raise WssegError('label_info: must be a list like [{"name": "tumor", "idx": 1}]')
    places = [e.get("idx", place) for place, e in enumerate(given)]
    if not all(isinstance(place, int) for place in places):
        raise WssegError("label_info: idx must be a whole number")
    order = sorted(range(len(given)), key=lambda place: places[place])
    return {given[place]["name"]: value + 1 for value, place in enumerate(order)}
