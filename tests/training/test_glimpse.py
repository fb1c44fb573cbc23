"""What is shown of scans that are held back while a model trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import SMALL_UNION
from wsseg.data.kinds.registry import MASKS
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, load_slices
from wsseg.labels.space import LabelSpace
from wsseg.methods.union import Union
from wsseg.training.glimpse import FILE, Glimpse
from wsseg.training.loop import train
from wsseg.training.settings import TrainSettings


@pytest.fixture(scope="module")
def slices(phantom_data: Path) -> LabelledSlices:
    return load_slices(phantom_data, LabelSpace(("tumor",)), View(32), (MASKS,))


def test_two_scans_are_seen_and_kept(slices: LabelledSlices, tmp_path: Path) -> None:
    assert Glimpse.read(tmp_path) is None
    method = Union(SMALL_UNION, 1)
    seen = Glimpse.of(method, slices, 7)
    assert seen.images.shape == seen.masks.shape == (2, 32, 32)
    assert set(np.unique(seen.masks)) <= {0, 1}
    assert seen.images.std() > 10
    seen.write(tmp_path)
    again = Glimpse.read(tmp_path)
    assert again is not None
    assert again.step == 7
    assert np.array_equal(again.images, seen.images)
    (tmp_path / FILE).write_bytes(b"cut off")
    assert Glimpse.read(tmp_path) is None


def test_a_run_leaves_one_with_each_score(slices: LabelledSlices, tmp_path: Path) -> None:
    method = Union(SMALL_UNION, 1)
    held = slices.only({"phantom_003"})
    train(method, slices, TrainSettings(folder=tmp_path, steps=3), held=held)
    seen = Glimpse.read(tmp_path)
    assert seen is not None
    assert (seen.images.shape, seen.step) == ((1, 32, 32), 3)
