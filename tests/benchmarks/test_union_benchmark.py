from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from conftest import REPOSITORY
from wsseg.images.formats.nifti import write_nifti


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks" / "methods")
    import union

    return union


def test_minutes_count_what_people_marked(benchmark: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    write_nifti(folder / "a.nii.gz", np.zeros((8, 8, 4), np.int16), np.eye(4))
    strokes = np.zeros((8, 8, 4), np.uint8)
    strokes[2, 2:5, 1], strokes[5, 2:5, 1:3], strokes[7, :, 1] = 1, 2, 255
    write_nifti(folder / "a_scribble.nii.gz", strokes, np.eye(4))
    (folder / "image_labels.csv").write_text("case,slice,liver,spleen\na,0,0,0\na,1,1,1\na,2,,1\na,3,0,0\n")
    (folder / "points.csv").write_text("case,slice,label,row,column\na,1,liver,2,3\na,2,spleen,5,3\n")
    assert benchmark.classes_of(tmp_path).names == ("liver", "spleen")
    assert benchmark.annotation_minutes(tmp_path, "scribbles") == pytest.approx(3 * 17 / 60)
    assert benchmark.annotation_minutes(tmp_path, "presence") == pytest.approx(7 / 60)
    assert benchmark.annotation_minutes(tmp_path, "points+scribbles") == pytest.approx((2 * 2.4 + 3 * 17) / 60)


def test_the_interval_holds_the_mean(benchmark: ModuleType) -> None:
    low, high = benchmark.interval(np.array([0.7, 0.8, 0.9]))
    assert 0.69 < low < 0.8 < high < 0.91
