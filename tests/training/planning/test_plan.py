from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsseg.data.kinds.registry import kinds_named
from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.images.formats.nifti import write_nifti
from wsseg.labels.space import LabelSpace
from wsseg.models.package import LICENCE
from wsseg.training.planning.new import new_package
from wsseg.training.planning.plan import HOUNSFIELD, NOT_DRAWN, plan_for
from wsseg.training.progress import PausedError, Wish
from wsseg.training.run import train_package
from wsseg.training.settings import TrainSettings


def _folder(path: Path, spacing: float, box: tuple[int, int, int, int], label: str, cases: str = "ab") -> Path:
    """Two scans of 128 x 128 x 6 voxels, tissue but for the rim, with a box on one slice each."""
    rows = ["case,slice,label,first_row,first_column,last_row,last_column"]
    for case in cases:
        scan = np.full((128, 128, 6), -1000, np.int16)
        scan[4:124, 4:124] = np.random.default_rng(0).integers(0, 100, (120, 120, 6))
        write_nifti(path / f"{case}.nii.gz", scan, np.diag([spacing, spacing, 5.0, 1.0]))
        rows.append(f"{case},2,{label},{','.join(map(str, box))}")
    (path / "boxes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _widen(folder: Path) -> None:
    """Let the boxes take nearly all of a slice."""
    table = folder / "boxes.csv"
    table.write_text(table.read_text("utf-8").replace("40,40,80,80", "10,10,110,110"), encoding="utf-8")


def test_large_organs_are_seen_coarser_and_small_ones_enlarged(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "small").mkdir()
    large = plan_for(_folder(tmp_path / "large", 3.0, (10, 10, 110, 110), "liver"), LabelSpace(("liver",)), "CT")
    small = plan_for(_folder(tmp_path / "small", 3.0, (40, 40, 59, 59), "cord"), LabelSpace(("cord",)), "CT")
    assert large.size == 112 or large.size == 128
    assert large.crop == large.size
    assert small.size > 1.7 * large.size, "enlarged about twice"
    assert 64 <= small.crop < small.size


def test_points_tell_how_large_an_organ_is_by_the_slices_that_it_takes(tmp_path: Path) -> None:
    """Their discs are a fifth as wide: squares of that size would show the inside of a liver and nothing else."""
    folder = _folder(tmp_path, 2.0, (30, 30, 90, 90), "liver")
    boxed = plan_for(folder, LabelSpace(("liver",)), "CT", kinds_named(["boxes"]))
    for case in "ab":  # 40 slices of 5 mm, of which every sixth is marked
        scan = np.full((128, 128, 40), -1000, np.int16)
        scan[4:124, 4:124] = np.random.default_rng(0).integers(0, 100, (120, 120, 40))
        write_nifti(folder / f"{case}.nii.gz", scan, np.diag([2.0, 2.0, 5.0, 1.0]))
    rows = [f"{case},{index},liver,{53 + 14 * (index % 4 > 0)},60" for case in "ab" for index in range(0, 40, 6)]
    (folder / "points.csv").write_text("\n".join(["case,slice,label,row,column", *rows]), encoding="utf-8")
    pointed = plan_for(folder, LabelSpace(("liver",)), "CT", kinds_named(["points"]))
    assert boxed.crop * 2.0 * 128 / boxed.size > 120
    assert pointed.crop / pointed.size == pytest.approx(boxed.crop / boxed.size, rel=0.4)
    assert pointed.size < 1.3 * boxed.size


def test_a_ct_is_seen_through_windows_and_sides_are_never_mirrored(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2.0, (40, 40, 80, 80), "left kidney")
    plan = plan_for(folder, LabelSpace(("left kidney",)), "CT")
    assert plan.windows == HOUNSFIELD
    assert not plan.mirrored
    package = new_package("kidney-ct", ["left kidney"], "CT", tmp_path / "models", plan=plan)
    assert package.recipe.method == "union"
    assert package.recipe.planned
    assert package.recipe.settings["channels"] == 3
    assert package.recipe.windows == HOUNSFIELD


@pytest.mark.parametrize(
    ("places", "mirrored"),
    [((10, 12, 11, 10), False), ((10, 90, 11, 10), True), ((52, 56, 54, 51), True), ((10, 12), True)],
    ids=["one side", "both", "middle", "too few"],
)
def test_what_lies_on_one_side_in_all_scans_is_not_mirrored(
    tmp_path: Path, places: tuple[int, ...], mirrored: bool
) -> None:
    cases = "abcd"[: len(places)]
    folder = _folder(tmp_path, 2.0, (40, 40, 59, 59), "spleen", cases)
    rows = [f"{case},2,spleen,{first},40,{first + 19},59" for case, first in zip(cases, places, strict=True)]
    (folder / "boxes.csv").write_text(
        "\n".join(["case,slice,label,first_row,first_column,last_row,last_column", *rows]), encoding="utf-8"
    )
    plan = plan_for(folder, LabelSpace(("spleen",)), "CT")
    assert plan.mirrored is mirrored
    assert any("on one side in all scans" in reason for reason in plan.reasons) is not mirrored


def test_squares_show_a_good_part_of_a_slice_however_small_the_class_is(tmp_path: Path) -> None:
    plan = plan_for(_folder(tmp_path, 1.0, (60, 60, 66, 66), "cord"), LabelSpace(("cord",)), "CT")
    assert plan.crop >= 0.35 * plan.size


def test_the_first_training_plans_and_later_ones_keep_to_it(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2.0, (40, 40, 80, 80), "left kidney")
    made = new_package("kidney-ct", ["left kidney"], "CT", home() / "models")
    settings = TrainSettings(folder=tmp_path / "run", steps=1)
    trained = train_package(made, folder, home() / "models", settings).package
    plan = plan_for(folder, made.labels, "CT")
    assert trained.recipe.planned
    assert (trained.recipe.size, trained.recipe.windows) == (plan.size, HOUNSFIELD)
    assert trained.recipe.settings["crop"] == plan.crop
    assert trained.recipe.training is not None
    assert trained.recipe.training.begun["network"].package == "union-start"
    assert "union-start" in trained.recipe.licence
    assert (trained.folder / LICENCE).read_text("utf-8").strip() == trained.recipe.licence
    _widen(folder)
    again = train_package(trained, folder, home() / "models", settings).package
    assert plan_for(folder, made.labels, "CT").size != plan.size
    assert again.recipe.size == plan.size


def test_an_interrupted_training_keeps_to_its_plan(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2.0, (40, 40, 80, 80), "liver")
    made, settings = (
        new_package("paused-ct", ["liver"], "CT", home() / "models"),
        TrainSettings(folder=tmp_path / "run"),
    )
    steps: list[int] = []
    with pytest.raises(PausedError):
        train_package(
            *(made, folder, home() / "models", settings, lambda progress: steps.append(progress.step)),
            wish=lambda: Wish.PAUSE if any(steps) else Wish.GO_ON,
        )
    plan = plan_for(folder, made.labels, "CT")
    _widen(folder)
    assert plan_for(folder, made.labels, "CT").size != plan.size
    trained = train_package(made, folder, home() / "models", replace(settings, steps=2)).package
    assert trained.recipe.size == plan.size


def test_labels_that_are_not_used_plan_nothing(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2.0, (40, 40, 80, 80), "liver")
    (folder / "points.csv").write_text(
        "case,slice,label,row,column\na,2,liver,60,60\nb,2,liver,20,20\n", encoding="utf-8"
    )
    boxes, points = (
        plan_for(folder, LabelSpace(("liver",)), "CT", kinds_named([kind])) for kind in ("boxes", "points")
    )
    assert boxes.crop != points.crop or boxes.size != points.size


def test_scans_without_labels_are_refused(tmp_path: Path) -> None:
    (_folder(tmp_path, 2.0, (40, 40, 80, 80), "liver") / "boxes.csv").unlink()
    with pytest.raises(WssegError, match="no scan has a label"):
        plan_for(tmp_path, LabelSpace(("liver",)), "CT")


def test_presence_alone_is_learned_from_whole_slices_by_seeds_and_people_are_told(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 2.0, (40, 40, 80, 80), "liver")
    drawn = plan_for(folder, LabelSpace(("liver",)), "CT")
    (folder / "boxes.csv").unlink()
    rows = [f"{case},{index},{int(index == 2)}" for case in ("a", "b") for index in range(6)]
    (folder / "image_labels.csv").write_text("\n".join(["case,slice,liver", *rows]) + "\n", encoding="utf-8")
    plan = plan_for(folder, LabelSpace(("liver",)), "CT")
    assert plan.crop == plan.size, "a square need not show what the slice does"
    assert NOT_DRAWN in plan.reasons
    assert NOT_DRAWN not in drawn.reasons


def test_what_is_in_no_hounsfield_units_is_no_ct(tmp_path: Path) -> None:
    folder = _folder(tmp_path, 1.0, (60, 60, 66, 66), "cord")
    voxels = np.random.default_rng(0).normal(0, 1, (128, 128, 6)).astype(np.float32)
    for rescaled in (voxels, 4000 * np.abs(voxels)):
        for case in "ab":
            write_nifti(folder / f"{case}.nii.gz", rescaled, np.diag([1.0, 1.0, 5.0, 1.0]))
        with pytest.raises(WssegError, match="none of 2 scans holds Hounsfield units"):
            plan_for(folder, LabelSpace(("cord",)), "CT")
    assert plan_for(folder, LabelSpace(("cord",)), "MR").windows == ()
