"""Scans that were held back, with the mask as it is by now: what people watch while a model trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from wsseg.data.slices import LabelledSlices
from wsseg.files import whole_file
from wsseg.images.volume import hung
from wsseg.inference.device import slices_per_pass
from wsseg.methods.base import Method
from wsseg.methods.prompt import Pass, Prompt

FILE = "held_back.npz"
"""In the folder of a run."""

CASES = 2

BESIDE = 2
"""Slices on either side that are looked at with each: what methods may want to see, far fewer than a scan has."""


@dataclass(frozen=True)
class Glimpse:
    """One slice of each of a few scans.

    Attributes:
        images: (scans, rows, columns) uint8, hung.
        masks: of the same shape, class values.
        step: of training.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    step: int

    @classmethod
    def of(cls, method: Method, held: LabelledSlices, step: int) -> Glimpse:
        """The slices of the first scans held back that most is labelled of, as a method sees them now."""
        images, masks = [], []
        chunk = slices_per_pass(held.images.device, held.images.shape[-1], method.pixel_bytes)
        for case in range(min(CASES, len(held.cases))):
            rows = torch.nonzero(held.case == case)[:, 0]
            targets = held.targets.at(rows)
            said = (targets.pixels > 0).flatten(1).sum(dim=1) + (targets.presence == 1).sum(dim=1)
            middle = int(said.argmax()) if said.any() else len(rows) // 2
            begin = max(0, middle - BESIDE)
            seen = held.images_at(rows[begin : middle + BESIDE + 1])
            chosen = middle - begin
            with torch.no_grad():
                device = next(method.parameters()).device
                maps = method.predict(seen.to(device), Prompt(), Pass(chunk)).probabilities[chosen].cpu()
            mask = torch.where(maps.amax(dim=0) > 0.5, maps.argmax(dim=0) + 1, 0).numpy().astype(np.uint8)
            grey = ((seen[chosen, 0].numpy() + 1) * 127.5).clip(0, 255).astype(np.uint8)
            images.append(hung(grey))
            masks.append(hung(mask))
        return cls(np.stack(images), np.stack(masks), step)

    def write(self, folder: Path) -> None:
        """Into the folder of a run, in place of an earlier one."""
        with whole_file(folder / FILE) as part, part.open("wb") as file:
            np.savez_compressed(file, images=self.images, masks=self.masks, step=self.step)

    @classmethod
    def read(cls, folder: Path) -> Glimpse | None:
        """What was written into the folder of a run; None where nothing was yet."""
        try:
            with np.load(folder / FILE) as held:
                return cls(held["images"], held["masks"], int(held["step"]))
        except (OSError, ValueError, KeyError, BadZipFile):
            return None
