"""What a kind of label is: where it is kept, how it is read, what is enough of it, what it becomes in a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from wsseg.data.preprocess import Stack
from wsseg.data.targets import Targets
from wsseg.images.volume import Volume
from wsseg.labels.space import YES, LabelSpace

Given = TypeVar("Given")
"""What a data folder holds of a kind for one scan: rows of a table, or a file."""


@dataclass(frozen=True)
class CutScan:
    """A scan of a data folder, cut into the slices that a network sees.

    Attributes:
        case: its name.
        file: where it lies.
        volume: as stored.
        stack: as cut.
    """

    case: str
    file: Path
    volume: Volume
    stack: Stack

    def unknown(self, labels: LabelSpace) -> Targets:
        """Nothing known of any slice."""
        return Targets.unknown(len(self.stack.images), len(labels), self.stack.images.shape[2:])


class LabelKind(ABC, Generic[Given]):
    """One kind of label.

    Attributes:
        name: one word, as in ``--use presence`` and in packages.
        words: what such labels are to people, as in "no scan has strokes of liver".
        rough: it marks where things are, not what belongs to them: of classes that are drawn on the same scan it
            tells presence.
        balanced: its own samples show slices without a class as often as such with one.
        sought: samples of a batch are drawn for it in turn with other kinds; not where
            it says little of every slice of a scan.
    """

    name: str
    words: str
    rough: bool = False
    balanced: bool = False
    sought: bool = True

    @abstractmethod
    def in_folder(self, folder: Path, scans: Mapping[str, Path], labels: LabelSpace) -> dict[str, Given]:
        """What a data folder holds of it, by scan; empty where there is nothing.

        Raises:
            WssegError: a table is damaged.
        """

    def listed(self, folder: Path, labels: LabelSpace) -> set[str]:
        """Scans that a data folder names for it, in a table or by the name of a file, whether it holds them or not."""
        return set()

    @abstractmethod
    def nothing_in(self, folder: Path) -> str:
        """The sentence that tells that no scan of a folder has such a label."""

    @abstractmethod
    def stored(self, given: Given, grid: Volume, labels: LabelSpace) -> Targets:
        """What it says, on the scan's own grid and in the order of the file.

        Args:
            grid: of its scan, without voxels.

        Raises:
            WssegError: it holds what means nothing.
        """

    @abstractmethod
    def targets(self, given: Given, scan: CutScan, labels: LabelSpace, source: Path) -> Targets:
        """What it says of the slices of its scan.

        Args:
            source: the data folder, for messages.

        Raises:
            WssegError: it does not fit the scan, or holds what means nothing.
        """

    @abstractmethod
    def bears(self, targets: Targets) -> Tensor:
        """Which slices bear such a label, (slices,) bool."""

    @abstractmethod
    def lacking(self, targets: Iterable[Targets], labels: LabelSpace) -> list[str]:
        """What is missing to learn all classes from such labels alone, a sentence each; none is enough."""

    def reading(self, targets: Targets, labels: LabelSpace) -> str:
        """A sentence on how well such labels could be read, "" where there is nothing to tell."""
        return ""

    def candidates(self, targets: Targets, bearing: Tensor, sample: int, rng: np.random.Generator) -> Tensor:
        """Slices to draw one sample of a batch from, by their indices: those that show one class, each as often.

        Args:
            bearing: indices of all slices that bear such a label.
            sample: its position in the batch.
        """
        shown = targets.presence[bearing] == YES
        classes = torch.nonzero(shown.any(dim=0))[:, 0]
        if not len(classes):
            return bearing
        return bearing[shown[:, classes[rng.integers(len(classes))]]]


class ListedKind(LabelKind[Given]):
    """A kind whose labels are rows of one table of the data folder.

    Attributes:
        table: the table's file name.
    """

    table: str

    @abstractmethod
    def _read(self, path: Path, labels: LabelSpace) -> Mapping[str, Given]:
        """What a table holds, by case."""

    def in_folder(self, folder: Path, scans: Mapping[str, Path], labels: LabelSpace) -> dict[str, Given]:
        return {case: given for case, given in self._rows(folder, labels).items() if case in scans}

    def listed(self, folder: Path, labels: LabelSpace) -> set[str]:
        return set(self._rows(folder, labels))

    def _rows(self, folder: Path, labels: LabelSpace) -> Mapping[str, Given]:
        path = folder / self.table
        return self._read(path, labels) if path.exists() else {}

    def nothing_in(self, folder: Path) -> str:
        return f"{folder / self.table}: is missing, or names none of the folder's scans"
