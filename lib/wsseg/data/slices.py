"""Training slices in memory, and batches drawn from them by seed, step and sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wsseg.data.augment import USUAL, Augmentation, Variety, augment
from wsseg.data.preprocess import Stack, View, prepare
from wsseg.errors import WssegError
from wsseg.images.folder import mask_of, scan_files, scribble_of
from wsseg.images.formats import case_name
from wsseg.images.on_grid import check_values, read_drawn, read_mask
from wsseg.images.scan import read_scan
from wsseg.images.volume import Volume
from wsseg.labels.space import BACKGROUND, NO, UNKNOWN, YES, LabelSpace, Presence
from wsseg.labels.tables import PRESENCE_FILE, TEXT_FILE, check_length, read_presence, read_texts

LearnsFrom = Literal["presence", "scribbles", "masks", "images"]
"""Which labels a method cannot do without; "images" asks for none."""


@dataclass(frozen=True)
class Batch:
    """Training slices with all the randomness that a step may use.

    Everything is drawn by seed, step and sample, so that a step is the same in
    one process as in several, and after a resume.

    Attributes:
        images: (batch, channels, size, size) in [-1, 1], augmented; one channel,
            or more with the neighbours that the variety asks for.
        presence: (batch, classes) of 1 yes, 0 no, -1 unknown.
        pixels: (batch, size, size) uint8 pixel labels, 0 not labelled, 1..N the
            classes, 255 background; drawn by people or made by the method.
        noise: standard normal, shape of ``images``.
        uniform: (batch, 4) in [0, 1).
        texts: the sentence of each sample's scan, "" where there is none.
        done: part of the stage that lies behind, in [0, 1).
    """

    images: Tensor
    presence: Tensor
    pixels: Tensor
    noise: Tensor
    uniform: Tensor
    done: float = 0.0
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class LabelledSlices:
    """All slices of a data set with their weak labels.

    Attributes:
        images: (slices, 1, size, size) float32 in [-1, 1]; tiles of colour
            pictures (tiles, 3, size, size).
        presence: (slices, classes) of 1, 0, -1.
        depth_mm: (slices, size, size), under the outline of the tissue.
        pixels: (slices, size, size) uint8 as in :class:`Batch`.
        cases: names of the scans they come from, in order.
        case: (slices,) index into ``cases``.
        texts: the sentence of each of ``cases``, "" where there is none.
        learns_from: the labels that slices are chosen by.
    """

    images: Tensor
    presence: Tensor
    depth_mm: Tensor
    pixels: Tensor
    cases: tuple[str, ...]
    case: Tensor
    texts: tuple[str, ...]
    learns_from: LearnsFrom = "presence"

    def check(self, labels: LabelSpace) -> None:
        """Refuse labels nothing can be learned from.

        Presence needs a yes and a no of every class; scribbles and masks each
        class and background.
        """
        if self.learns_from == "images":
            return
        if self.learns_from != "presence":
            for name, value in [*labels.values().items(), ("background", BACKGROUND)]:
                if not (self.pixels == value).any():
                    raise WssegError(f"training data: no scan has {name} in its {self.learns_from}")
            return
        for column, name in zip(self.presence.T, labels.names, strict=True):
            for state, word in ((YES, "present"), (NO, "absent")):
                if not (column == state).any():
                    raise WssegError(f"training data: no slice has {name} marked {word}, both are needed")

    def batch(
        self,
        seed: int,
        step: int,
        samples: range,
        variety: Variety = USUAL,
        done: float = 0.0,
    ) -> Batch:
        """The samples of one step.

        Where presence is learned from, half of them show a class and half do
        not; else all of them bear scribbles or masks, if there are to be any.

        Args:
            samples: positions in the step's global batch that are wanted here;
                every process asks for its own share.
        """
        draws = [np.random.default_rng([seed, step, sample]) for sample in samples]
        chosen = [self._choose(sample, rng) for sample, rng in zip(samples, draws, strict=True)]
        drawn = [Augmentation.draw(rng, variety) for rng in draws]
        seen = self.images[chosen]
        if variety.neighbours:
            seen = self.images[self._with_neighbours(chosen, variety.neighbours), 0]
        images, pixels = augment(seen, self.pixels[chosen], drawn, variety)
        noise = np.stack([rng.standard_normal(images.shape[1:], np.float32) for rng in draws])
        uniform = np.stack([rng.random(4, np.float32) for rng in draws])
        texts = [self.texts[int(case)] for case in self.case[chosen]]
        drawn_noise = torch.from_numpy(noise), torch.from_numpy(uniform)
        return Batch(images, self.presence[chosen], pixels, *drawn_noise, done, texts)

    def _choose(self, sample: int, rng: np.random.Generator) -> int:
        if self.learns_from == "images":
            candidates = torch.arange(len(self.images))
        elif self.learns_from != "presence":
            candidates = self._drawn_on
        else:
            column = self.presence[:, rng.integers(self.presence.shape[1])]
            candidates = torch.nonzero(column == (YES if sample % 2 else NO))[:, 0]
        return int(candidates[rng.integers(len(candidates))])

    def _with_neighbours(self, chosen: list[int], reach: int) -> Tensor:
        """Indices (chosen, 1 + 2 reach) of slices and those beside them in the same scan."""
        case = self.case[chosen][:, None]
        first, last = (torch.searchsorted(self.case, case, right=right) for right in (False, True))
        return neighbouring(torch.tensor(chosen), reach, first, last - 1)

    @cached_property
    def _drawn_on(self) -> Tensor:
        """Indices of the slices that bear strokes or a mask."""
        return torch.nonzero(self.pixels.flatten(1).any(dim=1))[:, 0]

    def only(self, cases: Collection[str]) -> LabelledSlices:
        """The slices of some of the scans."""
        kept = [index for index, name in enumerate(self.cases) if name in cases]
        rows = torch.isin(self.case, torch.tensor(kept, dtype=self.case.dtype))
        renumbered = torch.searchsorted(torch.tensor(kept, dtype=self.case.dtype), self.case[rows])
        return replace(
            self,
            images=self.images[rows],
            presence=self.presence[rows],
            depth_mm=self.depth_mm[rows],
            pixels=self.pixels[rows],
            cases=tuple(self.cases[index] for index in kept),
            texts=tuple(self.texts[index] for index in kept),
            case=renumbered,
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
    return {case for case in cases if crc32(_patient(case).encode()) / 2**32 < part}


def _patient(case: str) -> str:
    return re.sub(r"_frame\d+$", "", case)


def load_slices(
    folder: Path,
    labels: LabelSpace,
    view: View,
    learns_from: LearnsFrom = "presence",
    progress: Callable[[float], None] = lambda part: None,
) -> LabelledSlices:
    """Read every labelled scan of a data folder.

    A folder holds scans, ``image_labels.csv``, ``text.csv`` and, beside scans,
    ``<case>_scribble`` and ``<case>_label`` files. Scans without the labels that
    are learned from are left out; slices without are kept, they are never chosen.
    """
    table = folder / PRESENCE_FILE
    scans = scan_files(folder)
    listed = read_presence(table, labels) if learns_from == "presence" or table.exists() else {}
    known = {
        "presence": lambda case, file: case in listed,
        "scribbles": lambda case, file: scribble_of(file) is not None,
        "masks": lambda case, file: mask_of(file) is not None,
        "images": lambda case, file: True,
    }[learns_from]
    scans = {case: file for case, file in scans.items() if known(case, file)}
    if not scans:
        wanted = {"scribbles": "_scribble", "masks": "_label"}.get(learns_from)
        named = f"{table}: names none of the folder's scans"
        raise WssegError(f"{folder}: no scan has a {wanted} file beside it" if wanted else named)
    texts = read_texts(folder / TEXT_FILE) if (folder / TEXT_FILE).exists() else {}
    parts = []
    for done, (case, file) in enumerate(scans.items()):
        volume = read_scan(file)
        stack = prepare(volume, view)
        drawn = _pixels(stack, volume, labels, file, mask_of if learns_from == "masks" else scribble_of)
        parts.append(
            _tiles(stack, drawn, view.size, len(labels))
            if view.colour
            else (
                stack.images,
                _presence(listed.get(case), stack, volume, labels, file, table),
                stack.to_network(stack.depth_mm()),
                drawn,
            )
        )
        progress((done + 1) / len(scans))
    lengths = torch.tensor([len(images) for images, *_ in parts])
    images, presence, depth, pixels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    found = LabelledSlices(
        images,
        presence,
        depth,
        pixels,
        tuple(scans),
        torch.arange(len(parts)).repeat_interleave(lengths),
        tuple(texts.get(case, "") for case in scans),
        learns_from,
    )
    found.check(labels)
    return found


def _tiles(stack: Stack, drawn: Tensor, side: int, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A picture (1, 3, rows, columns) and what is drawn on it in the fewest squares that cover it; 0 around it."""
    _, _, rows, columns = stack.images.shape
    right, below = max(0, side - columns), max(0, side - rows)
    images = functional.pad(stack.images, (0, right, 0, below), value=1.0)  # glass is white
    labels = functional.pad(drawn, (0, right, 0, below))
    places = [(top, left) for top in _starts(rows, side) for left in _starts(columns, side)]
    cut = [(slice(top, top + side), slice(left, left + side)) for top, left in places]
    return (
        torch.cat([images[:, :, down, across] for down, across in cut]),
        torch.full((len(cut), classes), UNKNOWN, dtype=torch.int8),
        torch.zeros(len(cut), side, side),
        torch.cat([labels[:, down, across] for down, across in cut]),
    )


def _starts(length: int, side: int) -> list[int]:
    """Where squares begin that cover a length, evenly."""
    count = max(1, -(-length // side))
    return np.linspace(0, max(0, length - side), count).round().astype(int).tolist()


def _presence(
    listed: Presence | None, stack: Stack, volume: Volume, labels: LabelSpace, file: Path, table: Path
) -> Tensor:
    if listed is None:
        return torch.full((len(stack.images), len(labels)), UNKNOWN, dtype=torch.int8)
    return stack.order_presence(check_length(listed, volume.shape[2], case_name(file), table), file)


def _pixels(
    stack: Stack, volume: Volume, labels: LabelSpace, file: Path, drawn_of: Callable[[Path], Path | None]
) -> Tensor:
    """A scan's scribbles or mask on the network's grid; none where it has no file of them."""
    path = drawn_of(file)
    if path is None:
        return torch.zeros(len(stack.images), *stack.images.shape[2:], dtype=torch.uint8)
    complete = drawn_of is mask_of
    if complete:
        found = read_mask(path, volume, len(labels))
    else:
        found = read_drawn(path, volume).voxels
        check_values(
            path,
            found,
            [*range(len(labels) + 1), BACKGROUND],
            f"0 (not annotated), 1 to {len(labels)} and {BACKGROUND} (background);"
            " `wsseg import` translates those of public releases",
        )
    values = np.where(found == 0, BACKGROUND, found) if complete else found
    return stack.labels_to_network(np.ascontiguousarray(stack.grid.cut(values)).astype(np.uint8))
