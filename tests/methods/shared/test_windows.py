from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from wsseg.methods.shared.poses import POSES
from wsseg.methods.shared.windows import in_windows


def _double(windows: Tensor, pose: int) -> Tensor:
    """Twice the first channel."""
    return 2 * windows[:, :1]


@pytest.mark.parametrize("shape", [(16, 16), (5, 40), (41, 33)])
def test_what_all_windows_say_alike_is_said(shape: tuple[int, int]) -> None:
    pictures = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    told: list[float] = []
    found = in_windows(_double, pictures, 16, POSES, 3, told.append)
    torch.testing.assert_close(found, _double(pictures, 0))
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_what_one_pose_sees_at_its_border_the_next_has_in_its_middle() -> None:
    seen: dict[int, list[int]] = {0: [], 1: []}

    def note(windows: Tensor, pose: int) -> Tensor:
        seen[pose].append(int(windows[0, 0].min()))
        return windows[:, :1]

    picture = torch.arange(48.0).expand(1, 3, 16, 48)
    in_windows(note, picture, 16, [(False, 0), (False, 0)], 1, lambda part: None)
    assert seen == {0: [0, 16, 32], 1: [8, 24]}


def test_a_window_counts_most_in_its_middle() -> None:
    numbers = iter([0.0, 0.0, 1.0])  # two side by side, and one over their border
    picture = torch.zeros(1, 3, 16, 32)
    found = in_windows(lambda windows, _: torch.full((1, 1, 16, 16), next(numbers)), picture, 16, POSES[:1], 1, print)
    line = found[0, 0, 8]
    assert not line[:8].any()
    assert (line.diff()[8:15] > 0).all()
    torch.testing.assert_close(line, line.flip(0))
    assert line[12] == pytest.approx(0.5, abs=0.1), "half-way between two middles both count alike"


def test_memory_holds_no_window_that_was_seen() -> None:
    kept: list[weakref.ref[Tensor]] = []

    def watch(windows: Tensor, pose: int) -> Tensor:
        assert sum(other() is not None for other in kept) <= 2, "those of the step before"
        answer = _double(windows, pose)
        kept.extend([weakref.ref(windows), weakref.ref(answer)])
        return answer

    in_windows(watch, torch.zeros(1, 3, 100, 100), 16, POSES[:2], 4, lambda part: None)
    assert len(kept) > 30
