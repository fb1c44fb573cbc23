"""What is drawn is in the mask exactly where it was drawn, and speaks for what is like it around it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import MakePackage
from wsseg.data.preprocess import View, prepare
from wsseg.images.volume import Volume
from wsseg.inference.constraints import Constraints
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.drawn.drawing import Drawing, Tool
from wsseg.labels.drawn.render import Rendered, render
from wsseg.labels.space import LabelSpace

ORGANS = LabelSpace(("liver", "spleen"))
SHAPE = (64, 64, 5)
BRIGHT = np.s_[20:44, 20:44]


def scan(turned: bool = False) -> Volume:
    """A bright square in dimmer tissue."""
    voxels = np.full(SHAPE, 60.0)
    voxels[BRIGHT] = 200
    voxels += np.random.default_rng(0).normal(0, 2, SHAPE)
    voxels[:4] = voxels[-4:] = 0
    affine = np.diag([-1.0, 1.0, -4.0, 1.0]) if turned else np.diag([1.0, 1.0, 4.0, 1.0])
    return Volume(voxels.astype(np.float32), affine)


def drawn(tool: Tool, *points: tuple[float, float], label: str = "liver", at: int = 2, radius: float = 0) -> Drawing:
    given = {"classes": ORGANS.names, "axis": 2, "slice": at, "radius_mm": radius}
    return Drawing(id=f"{tool}-{label}-{at}", tool=tool, label=label, points=points, **given)


def weighed(*drawings: Drawing, sure: float = 0.05, turned: bool = False) -> tuple[NDArray[np.float32], Rendered]:
    """Probabilities of liver and spleen, (x, y, slice, class), that were the same everywhere before."""
    volume = scan(turned)
    stack = prepare(volume, View(64))
    found = render(drawings, volume, ORGANS)
    maps = np.full((5, 2, 64, 64), sure, np.float32)
    weighed = Constraints.of(found, stack).weigh(maps, stack, 4.0)
    return np.stack([stack.grid.join(weighed[:, k]) for k in range(2)], axis=-1), found


@pytest.mark.parametrize("turned", [False, True])
def test_a_stroke_fills_what_is_like_it_and_stops_at_the_edge(turned: bool) -> None:
    found, _ = weighed(drawn(Tool.STROKE, (30, 30), (34, 34)), turned=turned)
    liver = found[..., 0] > 0.5
    assert liver[28:36, 28:36, 2].all()
    outside = np.ones(SHAPE[:2], bool)
    outside[BRIGHT] = False
    assert not liver[outside].any()
    assert liver[..., 2].sum() > liver[..., 1].sum() >= 0
    assert not liver[..., 0].any()
    assert (found[..., 1] <= 0.06).all()


def test_background_takes_away_and_classes_compete() -> None:
    none = drawn(Tool.POINT, (30, 24), label="background")
    spleen = drawn(Tool.STROKE, (30, 40), (34, 40), label="spleen")
    found, _ = weighed(none, spleen, sure=0.8)
    assert found[30, 24, 2, 0] < 0.5
    assert found[32, 40, 2, 1] > 0.95
    assert found[32, 40, 2, 0] < 0.5


def test_a_box_holds_the_class_and_is_not_empty() -> None:
    found, _ = weighed(drawn(Tool.BOX, (10, 20), (30, 50)), sure=0.01)
    liver = found[..., 2, 0] > 0.5
    inside = np.zeros(SHAPE[:2], bool)
    inside[10:31, 20:51] = True
    assert not liver[~inside].any()
    assert 0.3 < liver[inside].mean() < 0.6
    assert not (found[..., 1, 0] > 0.5).any()


def test_every_voxel_is_as_it_was_drawn(make_package: MakePackage) -> None:
    package = make_package("union", labels=ORGANS.names)
    segmenter = Segmenter(package.folder)
    volume = scan()
    strokes = [
        drawn(Tool.STROKE, (5, 5), (60, 50), at=1),
        drawn(Tool.BRUSH, (30, 30), (40, 30), label="background", radius=4, at=1),
        drawn(Tool.BRUSH, (10, 50), label="spleen", radius=5, at=3),
        drawn(Tool.POINT, (60, 60), label="spleen", at=4),
    ]
    found = render(strokes, volume, ORGANS)
    mask = segmenter(volume, drawn=found).mask.voxels
    pixels = found.pixels
    assert (pixels > 0).sum() > 200
    expected = np.where(pixels == 255, 0, pixels)
    assert np.array_equal(mask[pixels > 0], expected[pixels > 0])
    absent = np.array([[-1, 0, -1, -1, -1], [-1, 0, -1, -1, -1]], np.int8)
    seen = segmenter.see(volume)
    cleared = segmenter.decide(seen, found, absent).mask.voxels
    assert np.array_equal(cleared[..., 1], expected[..., 1])
    assert np.array_equal(cleared[..., 2:], mask[..., 2:])
    assert np.array_equal(segmenter.decide(seen, found).mask.voxels, mask)
    assert np.array_equal(segmenter.decide(seen).mask.voxels, segmenter(volume).mask.voxels)
