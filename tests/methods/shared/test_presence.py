from __future__ import annotations

import torch

from wsseg.methods.prompt import Prompt
from wsseg.methods.shared.presence import smooth_over_slices


def test_neighbours_outvote_a_single_slice() -> None:
    logits = torch.tensor([[2.0], [2.0], [-1.0], [2.0], [2.0]])
    assert (smooth_over_slices(logits) > 0).all()
    assert smooth_over_slices(torch.ones(1, 2)).tolist() == [[1.0, 1.0]]


def test_given_presence_wins_where_known() -> None:
    probability = torch.tensor([[0.9], [0.9], [0.9]])
    decided = Prompt(torch.tensor([[1], [0], [-1]])).decide(probability)
    torch.testing.assert_close(decided, torch.tensor([[1.0], [0.0], [0.9]]))
