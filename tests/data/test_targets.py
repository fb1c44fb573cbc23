from __future__ import annotations

from dataclasses import replace

import torch

from wsseg.data.targets import Targets


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def test_what_says_nothing_takes_no_memory() -> None:
    """Scans by the hundred are in memory at once, of which as a rule no more than one map says anything."""
    drawn = replace(Targets.unknown(3, 4, (64, 64)), pixels=torch.ones(3, 64, 64, dtype=torch.uint8))
    both = Targets.together([drawn.over(Targets.unknown(3, 4, (64, 64))), Targets.unknown(2, 4, (64, 64))])
    for known in (both, both.at(torch.tensor([4, 0, 0]))):
        assert _bytes(known.boxes) == _bytes(known.half) == 1
        assert known.boxes.shape == (len(known.presence), 4, 64, 64)
    assert both.pixels.flatten(1).any(dim=1).tolist() == [True, True, True, False, False]


def test_squares_of_pictures_keep_what_is_known_of_each() -> None:
    """One whole picture and one that is not, four squares each, and one after the other."""
    pictures = [replace(Targets.unknown(1, 1, (64, 64)), whole=torch.tensor([whole])) for whole in (True, False)]
    both = Targets.together([each.in_squares(32) for each in pictures])
    assert both.whole.tolist() == [True] * 4 + [False] * 4
    assert both.at(torch.tensor([7, 0])).whole.tolist() == [False, True]


def test_what_one_scan_says_is_kept() -> None:
    boxed = replace(Targets.unknown(1, 2, (8, 8)), boxes=torch.full((1, 2, 8, 8), 33, dtype=torch.uint8))
    both = Targets.together([Targets.unknown(2, 2, (8, 8)), boxed])
    assert both.marked(1).flatten(1).any(dim=1).tolist() == [False, False, True]
    assert (Targets.unknown(1, 2, (8, 8)).over(boxed).boxes == 33).all()
