"""The benchmark of PCLMix, on synthetic scans and with next to no training."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from conftest import REPOSITORY, small_package
from wsseg.images.folder import scan_files


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks" / "methods")
    import pclmix

    return pclmix


@pytest.fixture
def scribbled(phantom_data: Path, tmp_path: Path) -> Path:
    """Scans with their masks, and most rows of those as strokes."""
    folder = tmp_path / "scribbled"
    shutil.copytree(phantom_data, folder)
    for case in scan_files(folder):
        mask = nib.load(folder / f"{case}_label.nii.gz")
        strokes = np.where(np.asarray(mask.dataobj) > 0, 1, 255).astype(np.uint8)
        strokes[:, ::4] = 0
        nib.save(nib.Nifti1Image(strokes, mask.affine), folder / f"{case}_scribble.nii.gz")
    return folder


@pytest.mark.long
def test_rows_differ_in_their_settings_and_are_kept_by_them(
    benchmark: ModuleType, scribbled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "HELD_BACK", 0.5)
    package, run = small_package(tmp_path / "package", "pclmix"), tmp_path / "run"
    run.mkdir()
    bench = benchmark.Bench(package, scribbled, scribbled, run, steps=2, small={})
    assert set(bench.data.cases).isdisjoint(bench.held.cases)
    scores = {row: bench.score(row, 0) for row in benchmark.ROWS}
    assert len(list(run.iterdir())) == len(scores) == 10
    assert {row: bench.score(row, 0) for row in scores} == scores, "read, not trained again"
    assert all(0 <= score.dice <= 1 and score.hd95_mm > 0 for score in scores.values())
    longer = benchmark.Bench(package, scribbled, scribbled, run, steps=3, small={})
    longer.score(next(iter(scores)), 0)
    assert len(list(run.iterdir())) == 11
