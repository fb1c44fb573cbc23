"""Whether each class of a scan is one piece, told from what people marked."""

from __future__ import annotations

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


def in_one_piece(method: Method, data: LabelledSlices, pass_: Pass) -> bool:
    """Whether keeping the likeliest piece of each class would lose hardly anything that people marked.

    Organs are in one piece, what else is marked is an error; lesions are in many.

    Args:
        method: trained on ``data``, on the CPU.
    """
    found = kept = 0
    chosen = evenly(range(len(data.cases)), LOOKED_AT)
    for number, case in enumerate(chosen):
        rows = torch.nonzero(data.case == case)[:, 0]
        with torch.no_grad():
            maps = method.predict(data.images_at(rows), Prompt(), pass_.step(number, len(chosen))).probabilities
        mask = mask_of(maps).numpy()
        likely = likely_pieces(mask, maps.numpy(), {})
        targets = data.targets.at(rows)
        for k in range(method.classes):
            marked = targets.marked(k).numpy()
            found += int((marked & (mask == k + 1)).sum())
            kept += int((marked & (likely == k + 1)).sum())
    return found > 0 and found - kept <= COST * found
