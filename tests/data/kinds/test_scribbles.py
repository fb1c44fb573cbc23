"""Scribbles from a data folder to training batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wsseg.data.augment import Variety
from wsseg.data.kinds.registry import MASKS, PRESENCE, SCRIBBLES
from wsseg.data.preprocess import View
from wsseg.data.slices import load_slices
from wsseg.errors import WssegError
from wsseg.images.formats.nifti import write_nifti
from wsseg.labels.space import LabelSpace

HEART = LabelSpace(("cavity", "wall"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scans of 40 x 60 pixels of 2 mm; the first has a stroke of each kind on its second slice."""
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 8.0, 1.0])
    for case in ("a", "b"):
        voxels = rng.uniform(50, 100, (40, 60, 3)).astype(np.float32)
        write_nifti(tmp_path / f"{case}.nii.gz", voxels, affine)
    write_nifti(tmp_path / "a_scribble.nii.gz", _strokes(), affine)
    return tmp_path


def _strokes() -> np.ndarray:
    strokes = np.zeros((40, 60, 3), np.uint8)
    strokes[18:22, 30, 1] = 1
    strokes[10:14, 30, 1] = 2
    strokes[2:30, 20, 1] = 255
    return strokes


def test_strokes_lie_where_they_were_drawn(folder: Path) -> None:
    """A window of 32 pixels of 2 mm around the middle: native pixels, 4 rows and 14 columns cut off."""
    data = load_slices(folder, HEART, View(32, pixel_mm=2.0), (SCRIBBLES,))
    assert data.cases == ("a",)
    assert data.images.shape == (3, 1, 32, 32)
    assert data.targets.presence.tolist() == [[-1, -1], [1, 1], [-1, -1]], "of one slice"
    drawn = [int((plane > 0).sum()) for plane in data.targets.pixels]
    assert sorted(drawn) == [0, 0, 4 + 4 + 26]
    implied = data.targets.with_implied().pixels
    assert int((implied > 0).sum()) == 4 + 4 + 5 * 26 + 3 + 1, "background two pixels around its stroke"
    plane = data.targets.pixels[int(np.argmax(drawn))]
    assert [int((plane == value).sum()) for value in (1, 2)] == [4, 4]
    wide = load_slices(folder, HEART, View(64, pixel_mm=2.0), (SCRIBBLES,))
    assert [int((wide.targets.pixels == value).sum()) for value in (1, 2)] == [4, 4]


def test_background_beside_its_stroke_gives_way_to_what_was_drawn(folder: Path) -> None:
    strokes = _strokes()
    strokes[10:14, 21, 1] = 1
    write_nifti(folder / "a_scribble.nii.gz", strokes, np.diag([2.0, 2.0, 8.0, 1.0]))
    pixels = load_slices(folder, HEART, View(64, pixel_mm=2.0), (SCRIBBLES,)).targets.with_implied().pixels
    assert int((pixels == 1).sum()) == 8
    assert int((pixels == 255).sum()) > 120


def test_what_a_fence_of_background_parts_from_all_that_is_drawn_is_background(folder: Path) -> None:
    strokes, affine, view = _strokes(), np.diag([2.0, 2.0, 8.0, 1.0]), View(64, pixel_mm=2.0)
    strokes[30:38, 20, 1] = 255
    write_nifti(folder / "a_scribble.nii.gz", strokes, affine)
    (plane,) = (p for p in load_slices(folder, HEART, view, (SCRIBBLES,)).with_implied().targets.pixels if p.any())
    assert int((plane == 255).sum()) > 22 * 40, "the fence reaches from border to border"
    strokes[28:32, 20, 1] = 0
    strokes[20, 5, 1] = 1
    write_nifti(folder / "a_scribble.nii.gz", strokes, affine)
    (plane,) = (p for p in load_slices(folder, HEART, view, (SCRIBBLES,)).with_implied().targets.pixels if p.any())
    assert int((plane == 255).sum()) < 5 * 40, "something is drawn behind it"


def test_batches_hold_slices_with_strokes_only(folder: Path) -> None:
    data = load_slices(folder, HEART, View(64, pixel_mm=2.0), (SCRIBBLES,))
    batch = data.batch(0, 0, range(6), Variety(turned=True, shift=0.1, crop=48), done=0.25)
    assert batch.images.shape == batch.noise.shape == (6, 1, 48, 48)
    assert batch.targets.pixels.shape == (6, 48, 48)
    assert (batch.targets.pixels > 0).flatten(1).any(dim=1).all()
    assert batch.done == 0.25


def test_quarter_turns_and_mirrors_all_occur(folder: Path) -> None:
    data = load_slices(folder, HEART, View(64, pixel_mm=2.0), (SCRIBBLES,))
    none = Variety(turned=True, angle=0, scale=0, shift=0, gamma=0, gain=0)
    images = data.batch(0, 0, range(60), none).images
    assert len({image.numpy().round(4).tobytes() for image in images}) == 8


def test_what_cannot_be_learned_from_is_refused(folder: Path) -> None:
    view = View(64, pixel_mm=2.0)
    with pytest.raises(WssegError, match="no scan has scribbles of lung"):
        load_slices(folder, LabelSpace(("cavity", "wall", "lung")), view, (SCRIBBLES,))
    with pytest.raises(WssegError, match=r"a_scribble.nii.gz: holds 0, 1, 2, 255, expected are 0 .*1 to 1 and 255"):
        load_slices(folder, LabelSpace(("cavity",)), view, (SCRIBBLES,))
    write_nifti(folder / "a_scribble.nii.gz", _strokes()[:20], np.diag([2.0, 2.0, 8.0, 1.0]))
    with pytest.raises(WssegError, match="on another grid than its scan"):
        load_slices(folder, HEART, view, (SCRIBBLES,))
    (folder / "a_scribble.nii.gz").unlink()
    with pytest.raises(WssegError, match="no scan has a _scribble file beside it"):
        load_slices(folder, HEART, view, (SCRIBBLES,))


def test_scribbles_are_read_beside_presence(folder: Path) -> None:
    """Methods that learn from presence take what people drew as well."""
    rows = [f"a,{index},{int(index == 1)},{int(index == 1)}" for index in range(3)]
    (folder / "image_labels.csv").write_text("\n".join(["case,slice,cavity,wall", *rows]) + "\n", encoding="utf-8")
    data = load_slices(folder, HEART, View(64, pixel_mm=2.0), (PRESENCE,), (SCRIBBLES,))
    assert int(((data.targets.pixels > 0) & (data.targets.pixels < 255)).sum()) == 8
    assert torch.equal((data.targets.pixels > 0).flatten(1).any(dim=1), data.targets.presence[:, 0] == 1)


def test_what_is_said_to_be_on_a_slice_is_there_where_strokes_are_silent(folder: Path) -> None:
    rows = [f"a,{index},{int(index > 0)},0" for index in range(3)]
    (folder / "image_labels.csv").write_text("\n".join(["case,slice,cavity,wall", *rows]) + "\n", encoding="utf-8")
    data = load_slices(folder, HEART, View(64, pixel_mm=2.0), (PRESENCE, SCRIBBLES))
    assert sorted(data.targets.presence.tolist()) == [[0, 0], [1, 0], [1, 1]]


def test_a_mask_is_counted_as_a_mask_and_a_stroke_as_a_stroke(folder: Path) -> None:
    mask = np.ones((40, 60, 3), np.uint8)
    mask[20:] = 2
    write_nifti(folder / "b_label.nii.gz", mask, np.diag([2.0, 2.0, 8.0, 1.0]))
    data = load_slices(folder, HEART, View(64, pixel_mm=2.0), (MASKS, SCRIBBLES))
    assert data.cases == ("a", "b")
    assert MASKS.bears(data.targets).tolist() == [False] * 3 + [True] * 3
    assert torch.equal(SCRIBBLES.bears(data.targets), data.targets.stroked.any(dim=1))
    assert int(SCRIBBLES.bears(data.targets).sum()) == 1


def test_a_square_without_a_class_is_not_said_to_show_it(folder: Path) -> None:
    rows = [f"b,{index},1,1" for index in range(3)]
    (folder / "image_labels.csv").write_text("\n".join(["case,slice,cavity,wall", *rows]) + "\n", encoding="utf-8")
    data = load_slices(folder, HEART, View(64, pixel_mm=2.0), (PRESENCE, SCRIBBLES))

    def said_alone(seen: Variety) -> bool:
        targets = data.batch(0, 0, range(40), seen).targets
        drawn = torch.stack([(targets.pixels == k).flatten(1).any(dim=1) for k in (1, 2)], dim=1)
        return bool(((targets.presence == 1) & ~drawn).any())

    assert said_alone(Variety())
    assert not said_alone(Variety(crop=16))
