"""The simulation of active learning, on a few synthetic scans and with next to no training."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from conftest import REPOSITORY
from wsseg.data.phantom import write_phantom_data

SCANS, LABELS = 8, 64


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks" / "methods")
    return pytest.importorskip("active_learning", reason="matplotlib is not installed")


@pytest.mark.long
def test_it_plays_the_annotator_and_goes_on_where_it_was(
    simulation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom_data(tmp_path / "train", cases=SCANS, seed=0, size=64)
    write_phantom_data(tmp_path / "val", cases=2, seed=50, size=64)
    folders = [f"--{name}={tmp_path / name}" for name in ("train", "val", "run")]
    plot = tmp_path / "plot.png"
    monkeypatch.setattr("simulation.VISITS", (1 / 4, 1, 2))
    monkeypatch.setattr(sys, "argv", ["", *folders, f"--plot={plot}", "--seeds=1", "--steps=2"])
    simulation.main()
    table = capsys.readouterr().out
    assert f"all {LABELS} labels: AUC 0." in table
    assert len(re.findall(r"^\| \w+ \| (?:all|4 at random|4 most doubtful) \| 0\.\d+ ± 0\.000 \|", table, re.M)) == 8
    with Image.open(plot) as picture:
        assert picture.size == (800, 500)
    trained = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()}
    next(iter(trained)).unlink()  # as if a kill had come before it
    simulation.main()
    assert capsys.readouterr().out == table
    again = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()}
    assert set(again) == set(trained)
    assert sum(again[file] != trained[file] for file in trained) == 1


def test_labels_needed_are_read_off_the_curve(simulation: ModuleType) -> None:
    needed = simulation.labels_needed
    labels, auc = np.array([10.0, 20.0, 40.0]), np.array([0.8, 0.9, 0.95])
    assert needed(labels, auc, 0.85) == pytest.approx(15)
    assert needed(labels, auc, 0.8) == 10
    assert needed(labels, auc, 0.96) == np.inf
    assert needed(labels, np.array([0.8, 0.9, 0.85]), 0.86) == pytest.approx(16), "the first time counts"
