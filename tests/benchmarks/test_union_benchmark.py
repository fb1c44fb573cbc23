from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from conftest import REPOSITORY
from wsseg.errors import WssegError
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.formats.table import read_volume


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
    (folder / "image_labels.csv").write_text(
        "case,slice,liver,spleen\na,0,0,0\na,1,1,1\na,2,,1\na,3,0,0\n", encoding="utf-8"
    )
    (folder / "points.csv").write_text("case,slice,label,row,column\na,1,liver,2,3\na,2,spleen,5,3\n", encoding="utf-8")
    assert benchmark.classes_of(tmp_path).names == ("liver", "spleen")
    assert benchmark.annotation_minutes(tmp_path, "scribbles") == pytest.approx(3 * 17 / 60)
    assert benchmark.annotation_minutes(tmp_path, "presence") == pytest.approx(7 / 60)
    assert benchmark.annotation_minutes(tmp_path, "points+scribbles") == pytest.approx((2 * 2.4 + 3 * 17) / 60)


def test_a_part_of_a_task_knows_one_class_as_if_nobody_had_drawn_others(benchmark: ModuleType, tmp_path: Path) -> None:
    task = tmp_path / "task"
    for part in ("train", "val"):
        (task / part).mkdir(parents=True)
        for case in ("a", "b"):
            drawn = np.zeros((8, 8, 4), np.uint8)
            drawn[2, :, 1], drawn[5, :, 1], drawn[7, :, 1] = 1, 2, 255 if part == "train" else 0
            kind = "scribble" if part == "train" else "label"
            write_nifti(task / part / f"{case}.nii.gz", np.zeros((8, 8, 4), np.int16), np.eye(4))
            write_nifti(task / part / f"{case}_{kind}.nii.gz", drawn, np.eye(4))
    (task / "train" / "image_labels.csv").write_text("case,slice,liver,spleen\na,1,1,1\nb,1,1,1\n", encoding="utf-8")
    (task / "train" / "points.csv").write_text(
        "case,slice,label,row,column\na,1,liver,2,3\na,1,spleen,5,3\n", encoding="utf-8"
    )
    with benchmark.in_part(task, "scribbles:1+points", "spleen") as part:
        assert benchmark.classes_of(part).names == ("spleen",)
        assert sorted(file.name for file in (part / "train").glob("*.nii.gz")) == [
            "a.nii.gz",
            "a_scribble.nii.gz",
            "b.nii.gz",
        ]
        assert (part / "val" / "b_label.nii.gz").exists()
        assert (part / "train" / "points.csv").read_text("utf-8").split() == [
            "case,slice,label,row,column",
            "a,1,spleen,5,3",
        ]
        files = ("train/a_scribble.nii.gz", "val/a_label.nii.gz")
        values = [np.unique(read_volume(part / name).voxels).tolist() for name in files]
        assert values == [[0, 1, 255], [0, 1]]
        assert benchmark.annotation_minutes(part, "scribbles:1+points") == pytest.approx((17 + 2.4) / 60)


def test_a_row_takes_each_kind_from_scans_of_its_own(benchmark: ModuleType, tmp_path: Path) -> None:
    """As many from the start, or from the end; scans without any are left out, tables keep their columns."""
    for part, cases in (("train", "abcd"), ("val", "e")):
        (tmp_path / part).mkdir()
        for case in cases:
            drawn = np.zeros((8, 8, 4), np.uint8)
            drawn[2, :, 1] = 1
            write_nifti(tmp_path / part / f"{case}.nii.gz", np.zeros((8, 8, 4), np.int16), np.eye(4))
            kind = "scribble" if part == "train" else "label"
            write_nifti(tmp_path / part / f"{case}_{kind}.nii.gz", drawn, np.eye(4))
    rows = "".join(f"{case},1,liver,2,3\n" for case in "abcd")
    (tmp_path / "train" / "points.csv").write_text(f"case,slice,label,row,column\n{rows}", encoding="utf-8")
    (tmp_path / "train" / "image_labels.csv").write_text("case,slice,liver\na,0,0\n", encoding="utf-8")
    with benchmark.in_part(tmp_path, "scribbles:2+points:-1", "") as part:
        files = sorted(file.name for file in (part / "train").glob("*.nii.gz"))
        assert files == ["a.nii.gz", "a_scribble.nii.gz", "b.nii.gz", "b_scribble.nii.gz", "d.nii.gz"]
        assert (part / "train" / "points.csv").read_text("utf-8").split()[1:] == ["d,1,liver,2,3"]
        assert (part / "train" / "image_labels.csv").read_text("utf-8").split() == ["case,slice,liver"]
    with benchmark.in_part(tmp_path, "scribbles+points", "") as part:
        assert part == tmp_path


@pytest.mark.parametrize("use", ["", "foo", "boxes:", "boxes:x", "boxes:0", "boxes+", "boxes:1+boxes:-1", "boxes:1:2"])
def test_a_row_that_cannot_be_meant_is_refused(benchmark: ModuleType, use: str) -> None:
    with pytest.raises(WssegError, match="each once, joined by"):
        benchmark.shares(use)


def test_the_interval_holds_the_mean(benchmark: ModuleType) -> None:
    low, high = benchmark.interval(np.array([0.7, 0.8, 0.9]))
    assert 0.69 < low < 0.8 < high < 0.91
