"""What completes labels is trained and scored by two scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from conftest import REPOSITORY
from wsseg.methods.registry import load_method
from wsseg.methods.shared.sizes import FILLED
from wsseg.models.package import read_package

FOLDER = REPOSITORY / "benchmarks" / "completion"


def _run(script: str, *arguments: str | Path) -> str:
    told = subprocess.run(
        [sys.executable, FOLDER / script, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_training_goes_on_from_a_package_and_counts_its_steps(tmp_path: Path) -> None:
    _run("train.py", tmp_path / "first", "--minutes", "0.02")
    _run("train.py", tmp_path / "second", "--start", tmp_path / "first", "--minutes", "0.02")
    first, second = (read_package(tmp_path / name, name) for name in ("first", "second"))
    load_method(second)
    steps = [package.recipe.training.stages["completion"].steps for package in (first, second)]
    assert 0 < steps[0] < steps[1]


def test_examples_are_drawn_where_the_shape_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(f"{FOLDER}")
    from synthetic import example
    from train import view_of

    rng = np.random.default_rng(0)
    inside = []
    for _ in range(40):
        drawn = example(rng)
        assert drawn.own.any() or drawn.box.any()
        assert not (drawn.own & drawn.others).any()
        if drawn.box.any():
            assert not (drawn.shape & ~drawn.box).any()
        if drawn.own.any():
            inside.append(drawn.shape[drawn.own].mean())
        view = view_of(drawn, rng)
        assert view.shape == (5, 96, 96)
        assert torch.isfinite(view).all()
        assert view[4].any(), "the window shows the shape"
    assert np.mean(inside) > 0.95, "a slip now and then"


def test_people_draw_loops_curls_and_zigzags_through_much_of_a_disc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(f"{FOLDER}")
    from scenes import COLUMNS, ROWS
    from strokes import WAYS

    rng = np.random.default_rng(0)
    disc = np.hypot(ROWS - 60, COLUMNS - 70) < 30
    depth = ndimage.distance_transform_edt(disc)
    reach, around = {}, {}
    for way in WAYS:
        lines = [way(rng, depth) - (60, 70) for _ in range(40)]
        assert all(np.hypot(*line.T).max() < 31 for line in lines)
        reach[way.__name__] = np.median([np.hypot(*np.ptp(line, axis=0)) for line in lines])
        around[way.__name__] = np.median([len(np.unique(np.arctan2(*line.T) // (np.pi / 6))) for line in lines])
    assert reach["_along_the_middle"] < 10, "the middle of a disc is a point"
    assert reach["_zigzag"] > 40
    assert around["_looped"] > 7, "of twelve directions"
    assert around["_straight"] < 7


def test_strokes_stay_within_rings_and_background_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(f"{FOLDER}")
    from scenes import COLUMNS, ROWS
    from strokes import draw_background, draw_stroke

    rng = np.random.default_rng(0)
    away = np.hypot(ROWS - 60, COLUMNS - 70)
    ring = (away > 20) & (away < 34)
    strokes = [draw_stroke(rng, ring) for _ in range(60)]
    assert min(stroke.any() for stroke in strokes)
    assert np.mean([ring[stroke].mean() for stroke in strokes]) > 0.98, "a slip now and then"
    assert min(ring[stroke].mean() for stroke in strokes) > 0.5
    backgrounds = [draw_background(rng, ring) for _ in range(60)]
    assert not any((background & ring).any() for background in backgrounds)
    assert any(
        (ndimage.label(~background)[0][60, 70] != ndimage.label(~background)[0][0, 0]) for background in backgrounds
    )


@pytest.mark.long
def test_a_table_of_completed_labels_is_printed(shared: Path) -> None:
    folder = shared / "hippocampus_t1"
    lines = _run("score.py", "--data", folder / "train", "--masks", folder / "few_masks").splitlines()
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines[2:]}
    kinds = ("scribbles", "points", "boxes")
    assert list(rows) == [row for kind in kinds for row in (kind, f"area in what {kind} tell")]
    assert float(rows["boxes"][3]) > 0.75
    assert all(2 < float(area) < 4 for area in rows["area in what scribbles tell"][1:3])
    assert all(FILLED[0] < float(area) < 1.1 for area in rows["area in what boxes tell"][1:3])
