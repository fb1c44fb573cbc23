from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from wsseg.training.checkpoint import Checkpoint

STATE: dict[str, Any] = {"method": {}, "stage": 2, "step": 5, "seconds": 1.0, "origin": "random weights"}
PLANNED = {"steps": {"seeds": 400, "self-training 1": 300, "self-training 2": 300}}


@pytest.mark.parametrize(
    ("noted", "carried"),
    [
        ({"plan": {}, "carried": [7, 9]}, [7, 9]),
        ({"plan": {}, "done": 17}, [8, 9]),
        ({"plan": {}, "done": 0, "stage": 0}, []),
        ({"plan": PLANNED}, [400, 300]),
    ],
)
def test_steps_of_the_stages_before_are_read_from_every_version(
    tmp_path: Path, noted: dict[str, Any], carried: list[int]
) -> None:
    """Today's, one that noted their sum, and the oldest, whose stages had the lengths of the plan."""
    file = tmp_path / "checkpoint.pt"
    torch.save(STATE | noted, file)
    found = Checkpoint.read(file)
    assert found is not None
    assert found.carried == carried


def test_where_there_is_none_nothing_is_read(tmp_path: Path) -> None:
    assert Checkpoint.read(tmp_path / "checkpoint.pt") is None
