"""Training slices in memory, and batches drawn from them by seed, step and sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wsseg.data.augment import Augmentation, augment
from wsseg.data.preprocess import prepare
from wsseg.errors import NotFoundError, WssegError
from wsseg.labels import NO, YES, LabelSpace, check_length, read_presence
from wsseg.volume import EXTENSIONS, case_name, read_scan

PRESENCE_FILE = "image_labels.csv"


@dataclass(frozen=True)
class Batch:
    """Training slices with all the randomness that a step may use.

    Everything is drawn by seed, step and sample, so that a step is the same in
    one process as in several, and after a resume.

    Attributes:
        images: (batch, 1, size, size) in [-1, 1], augmented.
        presence: (batch, classes) of 1 yes, 0 no, -1 unknown.
        pixels: (batch, size, size) uint8 pixel labels, 0 not labelled, 1..N the
            classes, 255 background; drawn by people or made by the method.
        noise: standard normal, shape of ``images``.
        uniform: (batch, 4) in [0, 1).
    """

    images: Tensor
    presence: Tensor
    pixels: Tensor
    noise: Tensor
    uniform: Tensor


@dataclass(frozen=True)
class LabelledSlices:
    """All slices of a data set with their image-level labels.

    Attributes:
        images: (slices, 1, size, size) float32 in [-1, 1].
        presence: (slices, classes) of 1, 0, -1.
        depth_mm: (slices, size, size), under the outline of the tissue.
        pixels: (slices, size, size) uint8 as in :class:`Batch`.
        cases: number of scans they come from.
    """

    images: Tensor
    presence: Tensor
    depth_mm: Tensor
    pixels: Tensor
    cases: int

    def check(self, labels: LabelSpace) -> None:
        """Refuse labels nothing can be learned from: a class without yes or without no."""
        for column, name in zip(self.presence.T, labels.names, strict=True):
            for state, word in ((YES, "present"), (NO, "absent")):
                if not (column == state).any():
                    raise WssegError(f"training data: no slice has {name} marked {word}, both are needed")

    def batch(self, seed: int, step: int, samples: range) -> Batch:
        """The samples of one step; half of them show a class, half do not.

        Args:
            samples: positions in the step's global batch that are wanted here;
                every process asks for its own share.
        """
        draws = [np.random.default_rng([seed, step, sample]) for sample in samples]
        chosen = [self._choose(sample, rng) for sample, rng in zip(samples, draws, strict=True)]
        drawn = [Augmentation.draw(rng) for rng in draws]
        images, pixels = augment(self.images[chosen], self.pixels[chosen], drawn)
        noise = np.stack([rng.standard_normal(images.shape[1:], np.float32) for rng in draws])
        uniform = np.stack([rng.random(4, np.float32) for rng in draws])
        return Batch(images, self.presence[chosen], pixels, torch.from_numpy(noise), torch.from_numpy(uniform))

    def _choose(self, sample: int, rng: np.random.Generator) -> int:
        column = self.presence[:, rng.integers(self.presence.shape[1])]
        candidates = torch.nonzero(column == (YES if sample % 2 else NO))[:, 0]
        return int(candidates[rng.integers(len(candidates))])


def scan_files(folder: Path) -> dict[str, Path]:
    """The scans of a data folder by case name, sorted; masks and scribbles left out.

    Raises:
        WssegError: no such folder, or no scan in it.
    """
    if not folder.is_dir():
        raise WssegError(f"{folder}: no such folder")
    files = {case_name(f): f for f in sorted(folder.iterdir()) if f.name.lower().endswith(EXTENSIONS)}
    scans = {case: f for case, f in files.items() if not case.endswith(("_label", "_scribble"))}
    if not scans:
        raise WssegError(f"{folder}: holds no scan ({', '.join(EXTENSIONS)})")
    return scans


def reference_of(scan: Path) -> Path:
    """The complete mask beside a scan, ``<case>_label.<extension>``.

    Raises:
        NotFoundError: there is none.
    """
    case = case_name(scan)
    for extension in EXTENSIONS:
        if (found := scan.parent / f"{case}_label{extension}").exists():
            return found
    raise NotFoundError(f"{scan}: there is no {case}_label mask beside it to be scored against")


def load_slices(
    folder: Path, labels: LabelSpace, size: int, axis: int, progress: Callable[[float], None] = lambda part: None
) -> LabelledSlices:
    """Read every labelled scan of a folder laid out as scans and ``image_labels.csv``.

    Scans without a row are left out. Slices with no known label are kept, they
    are never chosen.
    """
    listed = read_presence(folder / PRESENCE_FILE, labels)
    scans = {case: file for case, file in scan_files(folder).items() if case in listed}
    if not scans:
        raise WssegError(f"{folder / PRESENCE_FILE}: names none of the folder's scans")
    images, presence, depth = [], [], []
    for done, (case, file) in enumerate(scans.items()):
        volume = read_scan(file)
        states = check_length(listed[case], volume.voxels.shape[2], case, folder / PRESENCE_FILE)
        stack = prepare(volume, size, axis)
        images.append(stack.images)
        presence.append(stack.order_presence(states, file))
        depth.append(stack.to_network(stack.depth_mm()))
        progress((done + 1) / len(scans))
    pixels = torch.zeros(sum(map(len, images)), size, size, dtype=torch.uint8)
    found = LabelledSlices(torch.cat(images), torch.cat(presence), torch.cat(depth), pixels, len(scans))
    found.check(labels)
    return found
