from __future__ import annotations

import numpy as np
import pytest

from conftest import metadata_of
from wsseg.errors import WssegError
from wsseg.images.volume import Volume
from wsseg.inference.measure import (
    Ejection,
    check_one_heart,
    check_plausible,
    ejections,
    leading_cavities,
    phases,
    volumes_ml,
)
from wsseg.labels.space import LabelSpace

HEART = LabelSpace(("left", "wall"))


def test_volumes_are_in_millilitres_whatever_the_orientation() -> None:
    voxels = np.zeros((10, 10, 4), np.uint8)
    voxels[:5, :4, :2] = 1
    voxels[9, 9, 3] = 2
    oblique = np.array([[0, -2.0, 0, 5], [2.0, 0, 0, 3], [0, 0, -10.0, 1], [0, 0, 0, 1]])
    assert volumes_ml(Volume(voxels, oblique), HEART) == pytest.approx({"left": 40 * 0.04, "wall": 0.04})


def test_the_fuller_frame_is_diastole_in_either_order() -> None:
    full, empty = {"left": 120.0, "wall": 90.0}, {"left": 48.0, "wall": 95.0}
    assert phases([full, empty], ["left"]) == (0, 1)
    assert phases([empty, full], ["left"]) == (1, 0)
    found = ejections(full, empty, ["left"])["left"]
    assert (found.end_diastolic_ml, found.end_systolic_ml, found.stroke_ml) == (120.0, 48.0, 72.0)
    assert found.fraction == pytest.approx(0.6)


def test_phases_of_a_beat_are_its_turning_points() -> None:
    """The fullest frame stands at its ends, which meet; one frame that was segmented badly is passed over."""
    beat = [100 + 40 * np.cos(2 * np.pi * k / 20) for k in range(20)]
    assert phases([{"left": ml} for ml in beat], ["left"]) == (0, 10)
    beat[5], beat[15] = 5.0, 300.0
    assert phases([{"left": ml} for ml in beat], ["left"]) == (0, 10)


def test_what_a_wall_surrounds_tells_the_phases() -> None:
    recipe = metadata_of("pclmix", {}, ("right", "wall", "left")).wsseg
    for name in ("right", "left"):
        recipe.labels[name] = recipe.labels[name].model_copy(update={"cavity": True})
    assert leading_cavities(recipe) == ["right", "left"]
    assert leading_cavities(recipe.model_copy(update={"inside": {"left": "wall"}})) == ["left"]


def test_a_heart_that_was_not_found_is_not_measured() -> None:
    with pytest.raises(WssegError, match="no left was found"):
        ejections({"left": 0.0}, {"left": 0.0}, ["left"])


@pytest.mark.parametrize(("full", "empty"), [(100.0, 98.0), (100.0, 140.0), (100.0, 2.0)])
def test_what_no_heart_ejects_is_refused(full: float, empty: float) -> None:
    with pytest.raises(WssegError, match=f"the left would eject {full - empty:.0f} %"):
        check_plausible({"left": Ejection(full, empty)})
    check_plausible({"left": Ejection(100.0, 40.0)})


def test_frames_of_one_heart_share_grid_and_place() -> None:
    rng = np.random.default_rng(0)
    one = Volume(rng.normal(0, 1, (20, 20, 4)), np.eye(4))
    beats = Volume(one.voxels + rng.normal(0, 0.5, one.shape), np.eye(4))
    check_one_heart([("a", one), ("b", beats)])
    others = {
        "are the same frame": Volume(one.voxels.copy(), np.eye(4)),
        "different patients or places": Volume(rng.normal(0, 1, one.shape), np.eye(4)),
        "on different grids": Volume(beats.voxels, np.diag([2.0, 2, 2, 1])),
        "on different grids ": Volume(beats.voxels[:-1], np.eye(4)),
    }
    for sentence, other in others.items():
        with pytest.raises(WssegError, match=f"a and b (show |are )?{sentence.strip().removeprefix('are ')}"):
            check_one_heart([("a", one), ("b", other)])
