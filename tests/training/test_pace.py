from __future__ import annotations

import time

import pytest
import torch

from wsseg.training.pace import quickest


@pytest.fixture(autouse=True)
def threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("slow", [True, False])
def test_the_quicker_precision_and_number_of_threads_are_kept(slow: bool) -> None:
    def step(bf16: bool) -> None:
        time.sleep(0.02 * (bf16 == slow) + 0.02 * (torch.get_num_threads() == 2))

    assert quickest(step, mixed=True) is not slow
    assert torch.get_num_threads() == 1


def test_bf16_is_not_tried_where_there_is_none() -> None:
    tried = []
    assert not quickest(tried.append, mixed=False)
    assert not any(tried)
