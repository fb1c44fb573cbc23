"""What masks of training scans look like: whether each class is one piece, and which are found nowhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wsseg.data.slices import LabelledSlices, evenly
from wsseg.images.pieces import likely_pieces
from wsseg.methods.base import Method
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.masks import mask_of

LOOKED_AT = 12
"""Scans, evenly over the data."""

COST = 0.03
"""Greatest part of the marks found that may lie in further pieces: strokes slip, and masks have gaps."""


@dataclass(frozen=True)
class Found:
    """What masks of training scans hold of what people marked.

    Attributes:
        in_one_piece: keeping the likeliest piece of each class would lose hardly anything. Organs are in one piece,
            what else is marked is an error; lesions are in many.
        nowhere: indices of classes that people marked on these scans, and masks on none.
    """

    in_one_piece: bool
    nowhere: tuple[int, ...]


def found_of(method: Method, data: LabelledSlices, pass_: Pass) -> Found:
    """Compare masks of some training scans with what people marked.

    Args:
        method: trained on ``data``, on the CPU.
    """
    found = kept = 0
    marked, masked = (torch.zeros(method.classes, dtype=torch.bool) for _ in range(2))
    chosen = evenly(range(len(data.cases)), LOOKED_AT)
    for number, case in enumerate(chosen):
        rows = torch.nonzero(data.case == case)[:, 0]
        with torch.no_grad():
            maps = method.predict(data.images_at(rows), Prompt(), pass_.step(number, len(chosen))).probabilities
        mask = mask_of(maps).numpy()
        likely = likely_pieces(mask, maps.numpy(), {})
        targets = data.targets.at(rows)
        for k in range(method.classes):
            own = targets.marked(k).numpy()
            found += int((own & (mask == k + 1)).sum())
            kept += int((own & (likely == k + 1)).sum())
            marked[k] |= bool(own.any())
            masked[k] |= bool((mask == k + 1).any())
    nowhere = torch.nonzero(marked & ~masked)[:, 0].tolist()
    return Found(found > 0 and found - kept <= COST * found, tuple(nowhere))
