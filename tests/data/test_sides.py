from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from wsseg.data.augment import Augmentation, augment, stained_tissue
from wsseg.data.sides import turned
from wsseg.data.targets import Targets

SIDE = 32


@pytest.mark.parametrize(
    ("text", "flip", "quarters", "expected"),
    [
        ("The nuclei density in the upper right is high.", True, 0, "The nuclei density in the lower right is high."),
        ("The nuclei density in the upper right is high.", False, 1, "The nuclei density in the upper left is high."),
        ("The nuclei density in the upper right is high.", False, 2, "The nuclei density in the lower left is high."),
        ("The nuclei density in the lower is high.", False, 1, "The nuclei density in the right is high."),
        ("Left half, at the top", True, 2, "Right half, at the top"),
        ("upper-left, above all", False, 3, "upper-right, right all"),
        ("The nuclei are evenly distributed.", True, 3, "The nuclei are evenly distributed."),
        ("alright, topmost", True, 1, "alright, topmost"),
        ("UPPER half", False, 0, "UPPER half"),
        ("", True, 1, ""),
    ],
)
def test_sides_change_with_the_picture(text: str, flip: bool, quarters: int, expected: str) -> None:
    assert turned(text, flip, quarters) == expected


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("side", ["upper left", "upper right", "lower left", "lower right"])
def test_a_sentence_stays_true_of_its_picture(side: str, flip: bool, quarters: int) -> None:
    """A bright quarter, moved by the augmentation, is where the sentence then says."""
    rows = slice(0, SIDE // 2) if "upper" in side else slice(SIDE // 2, SIDE)
    columns = slice(0, SIDE // 2) if "left" in side else slice(SIDE // 2, SIDE)
    images = torch.full((1, 3, SIDE, SIDE), -1.0)
    images[:, :, rows, columns] = 1.0
    targets = replace(Targets.unknown(1, 1, (SIDE, SIDE)), texts=(f"{side} is bright",))
    draw = Augmentation(flip, quarters * torch.pi / 2, 1.0, (0.0, 0.0), 1.0, 1.0)
    moved, told = augment(images, targets, [draw], stained_tissue(SIDE))
    bright = torch.nonzero(moved[0, 0] > 0.5).float().mean(dim=0) - (SIDE - 1) / 2
    height, breadth, *_ = told.texts[0].split()
    assert (bright[0] < 0) == (height == "upper")
    assert (bright[1] < 0) == (breadth == "left")
