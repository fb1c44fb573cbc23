"""What is drawn on a scan as kinds of labels: finished masks, corrections, scribbles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from wsseg.data.kinds.base import CutScan, LabelKind
from wsseg.data.kinds.coverage import presence_of_marks
from wsseg.data.targets import Targets
from wsseg.images.folder import drawn_beside, drawn_cases
from wsseg.images.on_grid import check_values, read_drawn, read_mask
from wsseg.images.volume import Volume
from wsseg.labels.space import BACKGROUND, UNKNOWN, YES, LabelSpace

OFF = 2
"""Pixels around a stroke of background that are background too: nobody draws it along a border.

Of pixels that people drew as background around hearts 0.4 % lie nearer to one.
"""

_AROUND = np.hypot(*np.mgrid[-OFF : OFF + 1, -OFF : OFF + 1]) <= OFF


class _DrawnKind(LabelKind[Path]):
    """Something drawn on a scan, in a file of its own beside it.

    Attributes:
        ending: what the file's name has after the scan's.
    """

    ending: str

    @abstractmethod
    def pixel_labels(self, file: Path, grid: Volume, labels: LabelSpace) -> NDArray[np.uint8]:
        """Its voxels as pixel labels: 0 not labelled, 1..N the classes, 255 background."""

    def in_folder(self, folder: Path, scans: Mapping[str, Path], labels: LabelSpace) -> dict[str, Path]:
        found = {case: drawn_beside(file.parent, case, self.ending) for case, file in scans.items()}
        return {case: file for case, file in found.items() if file is not None}

    def listed(self, folder: Path, labels: LabelSpace) -> set[str]:
        return drawn_cases(folder, self.ending)

    def nothing_in(self, folder: Path) -> str:
        return f"{folder}: no scan has a _{self.ending} file beside it"

    def stored(self, given: Path, grid: Volume, labels: LabelSpace) -> Targets:
        pixels = torch.from_numpy(np.moveaxis(self.pixel_labels(given, grid, labels), 2, 0).copy())
        return replace(Targets.unknown(len(pixels), len(labels), pixels.shape[1:]), pixels=pixels)

    def targets(self, given: Path, scan: CutScan, labels: LabelSpace, source: Path) -> Targets:
        cut = np.ascontiguousarray(scan.stack.grid.cut(self.pixel_labels(given, scan.volume, labels)))
        pixels, presence = scan.stack.labels_to_network(cut), self._presence(torch.from_numpy(cut), len(labels))
        whole = torch.from_numpy((cut > 0).all(axis=(1, 2)))
        known, implied = scan.unknown(labels), self._implied(cut)
        if implied is not None:
            known = replace(known, implied=scan.stack.labels_to_network(implied))
        return replace(known, pixels=pixels, presence=presence, whole=whole)

    def _implied(self, drawn: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Background (slices, rows, columns) that follows from pixel labels, as 255; None where nothing does."""
        return None

    def _presence(self, pixels: Tensor, classes: int) -> Tensor:
        """Presence (slices, classes); who draws background on a slice has drawn all that is there."""
        return presence_of_marks(_marked(pixels, classes), complete=(pixels == BACKGROUND).flatten(1).any(dim=1))

    def bears(self, targets: Targets) -> Tensor:
        return targets.pixels.flatten(1).any(dim=1) & ~targets.whole

    def lacking(self, targets: Iterable[Targets], labels: LabelSpace) -> list[str]:
        known = list(targets)
        wanted = [*labels.values().items(), ("background", BACKGROUND)]
        return [
            f"no scan has {self.words} of {name}"
            for name, value in wanted
            if not any((each.pixels == value).any() for each in known)
        ]


def _marked(pixels: Tensor, classes: int) -> Tensor:
    """On which slices each class is drawn, (slices, classes) bool."""
    return torch.stack([(pixels == k + 1).flatten(1).any(dim=1) for k in range(classes)], dim=1)


class _MarkedKind(_DrawnKind):
    """Some voxels are marked, others not."""

    def pixel_labels(self, file: Path, grid: Volume, labels: LabelSpace) -> NDArray[np.uint8]:
        found = read_drawn(file, grid).voxels
        meaning = (
            f"0 (not annotated), 1 to {len(labels)} and {BACKGROUND} (background);"
            " `wsseg import` translates those of public releases"
        )
        check_values(file, found, [*range(len(labels) + 1), BACKGROUND], meaning)
        return found.astype(np.uint8)


class ScribbleKind(_MarkedKind):
    """A few strokes of each class and of background."""

    name, words, ending = "scribbles", "scribbles", "scribble"

    def targets(self, given: Path, scan: CutScan, labels: LabelSpace, source: Path) -> Targets:
        found = super().targets(given, scan, labels, source)
        return replace(found, stroked=_marked(found.pixels, len(labels)) & ~found.whole[:, None])

    def _implied(self, drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.stack([_fence(plane) if plane.any() else plane for plane in drawn])


def _fence(drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What strokes (rows, columns) say of the rest: background beside theirs, and behind it.

    Who draws background has drawn every class that there is: what a fence of
    background parts from all that is drawn holds none.
    """
    thick = ndimage.binary_dilation(drawn == BACKGROUND, _AROUND) & (drawn == 0)
    pieces, _ = ndimage.label(~thick & (drawn != BACKGROUND))
    inside = np.unique(pieces[(drawn > 0) & (drawn != BACKGROUND)])
    behind = ~np.isin(pieces, inside) & (drawn == 0) if inside.size else np.zeros_like(thick)
    return np.where(thick | behind, np.uint8(BACKGROUND), np.uint8(0))


class CorrectionKind(_MarkedKind):
    """Where a mask was wrong: what is right there, and nothing of what is elsewhere on the slice."""

    name, words, ending = "corrections", "corrections", "correction"

    def targets(self, given: Path, scan: CutScan, labels: LabelSpace, source: Path) -> Targets:
        found = super().targets(given, scan, labels, source)
        return replace(found, corrected=found.pixels.flatten(1).any(dim=1))

    def _presence(self, pixels: Tensor, classes: int) -> Tensor:
        """Presence (slices, classes); who corrects a mask has not looked for everything else, here or elsewhere."""
        return torch.where(_marked(pixels, classes), YES, UNKNOWN).to(torch.int8)


class MaskKind(_DrawnKind):
    """A complete mask: what is no class is background."""

    name, words, ending = "masks", "a finished mask", "label"

    def bears(self, targets: Targets) -> Tensor:
        return targets.whole

    def pixel_labels(self, file: Path, grid: Volume, labels: LabelSpace) -> NDArray[np.uint8]:
        found = read_mask(file, grid, len(labels))
        return np.where(found == 0, np.uint8(BACKGROUND), found)
