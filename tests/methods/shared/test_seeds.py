from __future__ import annotations

import torch
from torch import Tensor

from wsseg.methods.shared.seeds import confident, merge_classes, vote


def _square(top: int, left: int, size: int, level: float = 1.0) -> Tensor:
    plane = torch.zeros(1, 16, 16)
    plane[0, top : top + size, left : left + size] = level
    return plane


DEEP = torch.ones(1, 16, 16, dtype=torch.bool)


def test_foreground_is_where_enough_maps_agree() -> None:
    maps = [_square(2, 2, 6), _square(4, 4, 6), _square(12, 12, 3)]
    found = vote(maps, DEEP, votes=2)
    expected = torch.zeros(1, 16, 16, dtype=torch.bool)
    expected[0, 4:8, 4:8] = True
    assert torch.equal(found == 1, expected)
    assert not (found == 255)[0, 2:8, 2:8].any(), "where one map speaks for it, nothing is said"
    assert (found == 255)[0, 0:2].all()


def test_the_largest_piece_alone_is_foreground_and_none_lies_in_the_rim() -> None:
    both = _square(2, 2, 5) + _square(10, 10, 3)
    found = vote([both, both], DEEP, votes=2)
    assert int((found == 1).sum()) == 25
    shallow = DEEP.clone()
    shallow[0, :, :4] = False
    assert int((vote([both, both], shallow, votes=2) == 1).sum()) == 15


def test_where_a_map_is_flat_nothing_is_said() -> None:
    assert not vote([torch.ones(1, 16, 16), _square(2, 2, 4)], DEEP, votes=1).any()


def test_own_predictions_leave_the_doubtful_out() -> None:
    probability = torch.zeros(1, 16, 16)
    probability[0, 4:8, 4:8], probability[0, 8, 4:8] = 0.9, 0.6
    found = confident(probability, DEEP)
    assert (found[0, 4:8, 4:8] == 1).all()
    assert (found[0, 8, 4:8] == 0).all()
    assert int((found == 255).sum()) == 256 - 20
    assert not (confident(probability, ~DEEP) == 1).any(), "the rim is never learned as foreground"


def test_classes_are_merged_by_what_is_known() -> None:
    per_class = torch.zeros(4, 2, 1, 4, dtype=torch.uint8)
    per_class[:, 0, 0] = torch.tensor([1, 1, 255, 255], dtype=torch.uint8)
    per_class[:, 1, 0] = torch.tensor([255, 1, 1, 255], dtype=torch.uint8)
    presence = torch.tensor([[1, 1], [1, 0], [1, -1], [0, 0]])
    found = merge_classes(per_class, presence)[:, 0]
    assert found[0].tolist() == [1, 0, 2, 255], "two claims leave a pixel unlabelled"
    assert found[1].tolist() == [1, 1, 255, 255], "a class known to be absent claims nothing"
    assert found[2].tolist() == [1, 1, 0, 0], "a class that may be there leaves no background"
    assert found[3].tolist() == [255] * 4
