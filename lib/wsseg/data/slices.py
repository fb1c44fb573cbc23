"""Training slices in memory, and batches sampled from them by seed, step and sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import numpy as np
import psutil
import torch
from torch import Tensor

from wsseg.data.augment import USUAL, Augmentation, Variety, augment
from wsseg.data.kinds.base import CutScan, LabelKind
from wsseg.data.kinds.registry import KINDS, Kinds
from wsseg.data.kinds.together import together
from wsseg.data.preprocess import View, prepare
from wsseg.data.targets import Targets, squares
from wsseg.errors import WssegError
from wsseg.images.folder import scan_files
from wsseg.images.formats.table import read_grid
from wsseg.images.scan import read_scan
from wsseg.images.volume import SliceGrid
from wsseg.labels.space import BACKGROUND, NO, LabelSpace

T = TypeVar("T")

ELSEWHERE = 0.2
"""Part of the samples that may be any slice, where the others show what is learned."""

WITHOUT = 0.2
"""Part of the other samples that show no class for certain: masks should end where classes do."""

INSTEAD = 0.5
"""Part of the samples of slices without a class that show where one lies on other slices of the scan."""

BYTES = 8
"""Of memory for a pixel of a channel with its labels, while scans are put together."""


@dataclass(frozen=True)
class Batch:
    """Training slices with all the randomness that a step may use.

    Everything is sampled by seed, step and sample, so that a step is the same in
    one process as in several, and after a resume.

    Attributes:
        images: (batch, channels, size, size) in [-1, 1], augmented; one channel,
            or more with the neighbours that the variety asks for.
        targets: what is known of each slice, its maps augmented alike; pixel
            labels are people's, or made by the method.
        noise: standard normal, shape of ``images``.
        uniform: (batch, 4) in [0, 1).
        done: part of the stage that lies behind, in [0, 1).
    """

    images: Tensor
    targets: Targets
    noise: Tensor
    uniform: Tensor
    done: float = 0.0

    def to(self, device: torch.device) -> Batch:
        """The same on a device, images channels-last."""
        images = self.images.to(device, memory_format=torch.channels_last)
        return Batch(images, self.targets.to(device), self.noise.to(device), self.uniform.to(device), self.done)


@dataclass(frozen=True)
class LabelledSlices:
    """All slices of a data set with whatever labels they bear, of any kinds at once.

    Attributes:
        images: (slices, channels, size, size) float16 in [-1, 1], which resolves two thousand
            levels in half the memory; 1 channel, or one for each window of a CT; tiles of
            colour pictures (tiles, 3, size, size).
        targets: what is known of each slice.
        colour: whether these are tiles of pictures.
        cases: names of the scans they come from, in order.
        case: (slices,) index into ``cases``.
        kinds: of labels that there are, by which samples are chosen; without any all slices are alike.
    """

    images: Tensor
    targets: Targets
    colour: bool
    cases: tuple[str, ...]
    case: Tensor
    kinds: tuple[LabelKind[Any], ...] = ()

    def check(self, labels: LabelSpace) -> None:
        """Refuse labels nothing can be learned from: one of the kinds must be enough by itself.

        Raises:
            WssegError: with what is missing.
        """
        _refuse_too_little(self.kinds, [self.targets], labels, "training data")

    def images_at(self, rows: Tensor) -> Tensor:
        """Slices by their indices or a mask, (n, channels, size, size) float32."""
        return self.images[rows].float()

    def with_pixels(self, pixels: Tensor) -> LabelledSlices:
        """The same slices under other pixel labels, (slices, size, size) uint8."""
        return replace(self, targets=self.targets.with_pixels(pixels))

    def with_implied(self) -> LabelledSlices:
        """The same slices, background that follows from what was drawn among their pixel labels."""
        return replace(self, targets=self.targets.with_implied())

    def batch(
        self,
        seed: int,
        step: int,
        samples: range,
        variety: Variety = USUAL,
        done: float = 0.0,
    ) -> Batch:
        """The samples of one step, in turn by each kind of label that there is.

        Args:
            samples: positions in the step's global batch that are wanted here;
                every process asks for its own share.
        """
        draws = [np.random.default_rng([seed, step, sample]) for sample in samples]
        elsewhere = [variety.aimed and rng.random() < ELSEWHERE for rng in draws]
        chosen = torch.tensor(
            [
                int(rng.integers(len(self.images))) if anywhere else self._choose(sample, rng, variety.aimed)
                for sample, rng, anywhere in zip(samples, draws, elsewhere, strict=True)
            ]
        )
        augmentations = [Augmentation.draw(rng, variety) for rng in draws]
        if variety.aimed:
            augmentations = [
                self._aimed(each, int(row), rng, variety)
                for each, row, rng in zip(augmentations, chosen, draws, strict=True)
            ]
        rows = self._with_neighbours(chosen, variety.neighbours) if variety.neighbours else chosen[:, None]
        seen = self.images[rows].flatten(1, 2).float()
        heights = self._heights(chosen) if variety.placed else None
        images, targets = augment(seen, self.targets.at(chosen), augmentations, variety, heights)
        if (variety.crop or seen.shape[-1]) < seen.shape[-1]:
            targets = targets.seen_in_part()
        noise = np.stack([rng.standard_normal(images.shape[1:], np.float32) for rng in draws])
        uniform = np.stack([rng.random(4, np.float32) for rng in draws])
        return Batch(images, targets, torch.from_numpy(noise), torch.from_numpy(uniform), done)

    def _aimed(self, augmentation: Augmentation, row: int, rng: np.random.Generator, variety: Variety) -> Augmentation:
        """Aimed at a labelled pixel or into a box of the slice, classes and background alike; anywhere without one.

        Where no class is marked it may be aimed at where one is on another slice of the scan: what lies there
        instead is easily mistaken for it.
        """
        side = self.targets.pixels.shape[-1]
        seen = (variety.crop or side) / side
        marked = torch.empty(0) if self._marked[row] else torch.nonzero(self._marked & (self.case == self.case[row]))
        if len(marked) and rng.random() < INSTEAD:
            places = self._places(int(rng.choice(marked[:, 0])), background=False)
        else:
            places = self._places(row, background=True)
        if not places:
            down, right = rng.uniform(-1, 1, 2) * (1 - seen)
            return augmentation.aimed_at(down, right, variety, seen)
        where = torch.nonzero(places[rng.integers(len(places))])
        down, right = ((where[rng.integers(len(where))] + 0.5) * 2 / side - 1).tolist()
        return augmentation.aimed_at(down, right, variety, seen)

    def _places(self, row: int, background: bool) -> list[Tensor]:
        """Where each class, and background if it is wanted, is marked on a slice, (size, size) bool."""
        pixels, boxes = self.targets.pixels[row], self.targets.boxes[row]
        labels = [label for label in pixels.unique().tolist() if label and (background or label != BACKGROUND)]
        return [*(pixels == label for label in labels), *(box > 0 for box in boxes if box.any())]

    @cached_property
    def _marked(self) -> Tensor:
        """(slices,) bool, where a class is drawn or boxed."""
        classes = range(self.targets.presence.shape[1])
        return torch.stack([self.targets.marked(k).flatten(1).any(dim=1) for k in classes]).any(dim=0)

    def _choose(self, sample: int, rng: np.random.Generator, aimed: bool) -> int:
        if not self._bearing:
            return int(rng.integers(len(self.images)))
        kind, bearing = self._bearing[sample // 2 % len(self._bearing)]  # in pairs: presence draws a yes and a no
        if aimed and not kind.balanced and len(self._without) and rng.random() < WITHOUT:
            return int(rng.choice(self._without))
        candidates = kind.candidates(self.targets, bearing, sample, rng)
        return int(candidates[rng.integers(len(candidates))])

    @cached_property
    def _without(self) -> Tensor:
        """Indices of the slices that are known to show no class."""
        return torch.nonzero((self.targets.presence == NO).all(dim=1))[:, 0]

    @cached_property
    def _bearing(self) -> list[tuple[LabelKind[Any], Tensor]]:
        """The kinds that there are, and the indices of the slices that bear such a label."""
        found = [(kind, torch.nonzero(kind.bears(self.targets))[:, 0]) for kind in self.kinds if kind.sought]
        return [(kind, bearing) for kind, bearing in found if len(bearing)]

    def _with_neighbours(self, chosen: Tensor, reach: int) -> Tensor:
        """Indices (chosen, 1 + 2 reach) of slices and those beside them in the same scan."""
        first, last = self._ends(chosen)
        return neighbouring(chosen, reach, first[:, None], last[:, None])

    def _heights(self, chosen: Tensor) -> Tensor:
        """Places (chosen,) of slices in their scans, from -1 to 1."""
        first, last = self._ends(chosen)
        return 2 * (chosen - first) / (last - first).clamp(min=1) - 1

    def _ends(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of the first and the last slice of the same scan."""
        case = self.case[chosen].contiguous()
        return torch.searchsorted(self.case, case), torch.searchsorted(self.case, case, right=True) - 1

    def only(self, cases: Collection[str]) -> LabelledSlices:
        """The slices of some of the scans."""
        kept = torch.tensor([index for index, name in enumerate(self.cases) if name in cases], dtype=self.case.dtype)
        rows = torch.nonzero(torch.isin(self.case, kept))[:, 0]
        return replace(
            self,
            images=self.images[rows],
            targets=self.targets.at(rows),
            cases=tuple(self.cases[int(index)] for index in kept),
            case=torch.searchsorted(kept, self.case[rows]),
        )


def neighbouring(slices: Tensor, reach: int, first: Tensor | int, last: Tensor | int) -> Tensor:
    """Indices (slices, 1 + 2 reach) of slices with those beside them, the outermost again beyond the ends."""
    beside = slices[:, None] + torch.arange(-reach, reach + 1)
    return beside.clamp(torch.as_tensor(first), torch.as_tensor(last))


def held_back_cases(cases: Collection[str], part: float) -> set[str]:
    """About that part of the scans, told by the name alone, so that more scans never move one to the other side.

    Frames of one patient (``<patient>_frame01``) stay together; other scans of
    a patient are not known to be his.
    """
    return {case for case in cases if crc32(patient_of(case).encode()) / 2**32 < part}


def patient_of(case: str) -> str:
    """Whose scan it is, as far as its name tells: frames of one patient are ``<patient>_frame01``, ..."""
    return re.sub(r"_frame\d+$", "", case)


def check_folder(folder: Path, labels: LabelSpace, kinds: Kinds) -> None:
    """Refuse what :func:`load_slices` would, without reading the voxels of a scan.

    Raises:
        WssegError: there are no such labels, or not enough.
    """
    scans, known = scan_files(folder), [Targets.unknown(0, len(labels), (0, 0))]
    for kind in kinds:
        for case, given in kind.in_folder(folder, scans, labels).items():
            known.append(kind.stored(given, read_grid(scans[case]), labels))
    _refuse_too_little(kinds, known, labels, "labels")


def _refuse_too_little(kinds: Kinds, targets: list[Targets], labels: LabelSpace, where: str) -> None:
    missing = [kind.lacking(targets, labels) for kind in kinds]
    if missing and all(missing):
        raise WssegError(f"{where}: {', and '.join(first for first, *_ in missing)}")


def load_slices(
    folder: Path,
    labels: LabelSpace,
    view: View,
    kinds: Kinds,
    beside: Kinds = (),
    progress: Callable[[float], None] = lambda part: None,
) -> LabelledSlices:
    """Read every labelled scan of a data folder, with all its labels of the kinds asked for.

    A folder holds scans, ``image_labels.csv``, ``text.csv`` and, beside scans,
    ``<case>_scribble`` and ``<case>_label`` files. Slices without a label are
    kept, they are never chosen.

    Args:
        kinds: scans without a label of any of these are left out; with none
            named, no scan is.
        beside: further kinds that are read where there are.

    Raises:
        WssegError: there is no such label, not enough to learn all classes from, or more than memory holds.
    """
    scans = scan_files(folder)
    read = [kind for kind in KINDS.values() if kind in kinds or kind in beside]
    given = {kind: kind.in_folder(folder, scans, labels) for kind in read}
    if kinds:
        scans = {case: file for case, file in scans.items() if any(case in given[kind] for kind in kinds)}
    if not scans:
        raise WssegError("; ".join(kind.nothing_in(folder) for kind in kinds))
    if not view.colour:
        _refuse_too_many(list(scans.values()), view)
    parts = []
    for done, (case, file) in enumerate(scans.items()):
        volume = read_scan(file)
        scan = CutScan(case, file, volume, prepare(volume, view))
        said = {kind: kind.targets(given[kind][case], scan, labels, folder) for kind in read if case in given[kind]}
        parts.append(_seen(scan, together(said, scan.unknown(labels)), view))
        progress((done + 1) / len(scans))
    images, targets = zip(*parts, strict=True)
    lengths = torch.tensor([len(part) for part in images])
    found = LabelledSlices(
        torch.cat(images),
        Targets.together(targets),
        view.colour,
        tuple(scans),
        torch.arange(len(images)).repeat_interleave(lengths),
        tuple(kind for kind in kinds if given[kind]),
    )
    found.check(labels)
    return found


def _refuse_too_many(scans: Sequence[Path], view: View) -> None:
    """Refuse what would end the process for want of memory, before any voxel is read."""
    grids = [read_grid(file) for file in scans]
    slices = sum(grid.shape[SliceGrid.of(grid, view.axis).stored_axis] for grid in grids)
    wanted = slices * view.size**2 * max(1, len(view.windows)) * BYTES
    free = psutil.virtual_memory().available
    if wanted > free:
        raise WssegError(
            f"{len(scans)} scans of together {slices} slices take {wanted / 1e9:.1f} GB of memory to train on, of which"
            f" {free / 1e9:.1f} are free: name a folder of fewer, or close other programs"
        )


def _seen(scan: CutScan, known: Targets, view: View) -> tuple[Tensor, Targets]:
    """Images, and what is known of them; a picture in the fewest squares that cover it."""
    if not view.colour:
        return scan.stack.images.half(), known
    images = squares(scan.stack.images, view.size, around=1.0)  # glass is white
    return images.half(), known.in_squares(view.size)


def evenly(each: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly from the first to the last."""
    return [each[int(index)] for index in np.unique(np.linspace(0, len(each) - 1, min(most, len(each))).round())]
