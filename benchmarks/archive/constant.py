"""In place of a model: a mask that is always the same, after as long as a model would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.archive.cluster import Handler, Place
from wsseg.archive.destination import open_destination
from wsseg.archive.segment import SeriesSegmenter
from wsseg.archive.web.client import Pacs
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.quality.dice import SIGNS
from wsseg.inference.result import Segmentation
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.space import Code, Label
from wsseg.models.package import Metadata, ModelPackage, Recipe

NAME = "constant"


def package_of(version: str) -> ModelPackage:
    """What a file of the mask says of its maker."""
    code = Code(scheme="SCT", value="108369006", meaning="Neoplasm")
    labels = {"tumor": Label(color=(220, 60, 60), category=code, type=code)}
    recipe = Recipe(format=2, method="cdm", settings={}, labels=labels, size=32, modality="MR", licence="Apache-2.0")
    return ModelPackage(NAME, Path(), Metadata(version=version, changelog={}, description="", authors="", wsseg=recipe))


class Constant(Segmenter):
    """Sleeps, then marks a box.

    Args:
        version: that it says to be of.
        seconds: of sleep.
    """

    def __init__(self, version: str, seconds: float) -> None:
        self.package = package_of(version)
        self._seconds = seconds

    def __call__(self, scan: Volume, *given: Any, **named: Callable[[float], None] | Any) -> Segmentation:
        """The mask of a scan."""
        time.sleep(self._seconds)
        mask, grid = np.zeros(scan.shape, np.uint8), SliceGrid.of(scan)
        mask[tuple(slice(side // 4, side // 2) for side in scan.shape)] = 1
        slices = scan.shape[grid.stored_axis]
        return Segmentation(
            scan.like(mask),
            self.package.labels,
            np.ones((1, slices), np.float32),
            scan.like(np.zeros_like(mask)),
            {},
            np.ones((1, len(SIGNS))),
            grid,
            np.zeros((1, slices), np.bool_),
        )


@dataclass(frozen=True)
class ConstantHandler:
    """Makes a handler that fetches, waits and sends as one with a model does.

    Attributes:
        archive: its URL, where results go too.
        version, seconds: see :class:`Constant`.
    """

    archive: str
    version: str
    seconds: float

    def __call__(self, place: Place) -> Handler:
        """The handler, on a worker."""
        return SeriesSegmenter(Constant(self.version, self.seconds), Pacs(self.archive), open_destination(self.archive))
