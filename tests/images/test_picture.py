"""Pictures as volumes: colours and the right way up in, masks out, one sentence for what is none."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from pictures import MASK, PICTURE, saved, wrong_pictures
from wsseg.errors import WssegError
from wsseg.evaluation.preview import contact_sheet
from wsseg.images.formats.picture import PICTURES, write_png
from wsseg.images.formats.table import case_name, read_grid, read_volume, write_mask
from wsseg.images.on_grid import classes_of
from wsseg.images.volume import UPRIGHT, SliceGrid, Volume, hung


@pytest.mark.parametrize("extension", PICTURES)
def test_colours_come_as_columns_rows_and_one_slice(tmp_path: Path, extension: str) -> None:
    path = saved(tmp_path / f"tile{extension}")
    volume = read_volume(path)
    assert case_name(path) == "tile"
    assert volume.colour
    assert volume.shape == (40, 24, 1)
    assert (volume.voxels.shape, volume.voxels.dtype) == ((40, 24, 1, 3), np.uint8)
    assert volume.spacing == (1, 1, 1)
    apart = np.abs(volume.voxels[:, :, 0].swapaxes(0, 1).astype(int) - PICTURE)
    assert apart.mean() < (20 if extension in (".jpg", ".jpeg") else 1e-9)
    grid = read_grid(path)
    assert (grid.shape, grid.colour) == (volume.shape, True)


def test_a_picture_is_shown_as_it_hangs(tmp_path: Path) -> None:
    volume = read_volume(saved(tmp_path / "tile.png"))
    (plane,) = SliceGrid.of(volume).cut(volume.voxels)
    assert np.array_equal(hung(plane), PICTURE)
    assert np.array_equal(SliceGrid.of(volume).join(SliceGrid.of(volume).cut(volume.voxels)), volume.voxels)
    sheet = np.asarray(contact_sheet(volume, np.zeros(volume.shape, np.uint8), SliceGrid.of(volume), [(255, 0, 0)]))
    assert np.array_equal(sheet, PICTURE)
    marked = np.asarray(contact_sheet(volume, MASK.T[:, :, None], SliceGrid.of(volume), [(255, 0, 0)]))
    assert np.array_equal((marked != PICTURE).any(axis=2), MASK == 1)


@pytest.mark.parametrize(("mode", "colour"), [("L", False), ("1", False), ("RGBA", True), ("P", True), ("CMYK", True)])
def test_every_kind_of_8_bit_picture(tmp_path: Path, mode: str, colour: bool) -> None:
    path = tmp_path / f"tile{'.tif' if mode == 'CMYK' else '.png'}"
    Image.fromarray(PICTURE).convert(mode).save(path)
    volume = read_volume(path)
    assert (volume.colour, volume.shape) == (colour, (40, 24, 1))


def test_the_only_class_is_white_and_comes_back(tmp_path: Path) -> None:
    mask = Volume(MASK.T[:, :, None], np.diag([-1.0, -1.0, 1.0, 1.0]))
    write_mask(tmp_path / "mask.png", mask, classes=1)
    with Image.open(tmp_path / "mask.png") as written:
        assert written.mode == "L"
        assert np.array_equal(np.asarray(written), 255 * MASK)
    back = read_volume(tmp_path / "mask.png")
    assert np.array_equal(back.affine, mask.affine)
    assert np.array_equal(classes_of(tmp_path / "mask.png", back, 1), mask.voxels)


def test_several_classes_keep_their_values(tmp_path: Path) -> None:
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4, 1) % 4
    write_png(tmp_path / "mask.png", Volume(mask, UPRIGHT))
    assert np.array_equal(classes_of(tmp_path / "mask.png", read_volume(tmp_path / "mask.png"), 3), mask)


@pytest.mark.parametrize("classes", [2, None])
def test_what_a_picture_shows_does_not_change_how_it_is_written(tmp_path: Path, classes: int | None) -> None:
    """One of two classes, or doubts of no more than 1 %."""
    mask = Volume(MASK.T[:, :, None], np.diag([-1.0, -1.0, 1.0, 1.0]))
    write_mask(tmp_path / "mask.png", mask, classes)
    assert np.array_equal(read_volume(tmp_path / "mask.png").voxels, mask.voxels)


@pytest.mark.parametrize(
    ("slices", "affine"), [(2, np.diag([-1.0, -1.0, 1.0, 1.0])), (1, np.eye(4)), (1, np.diag([-0.5, -0.5, 1.0, 1.0]))]
)
def test_what_is_no_picture_is_no_png(tmp_path: Path, slices: int, affine: np.ndarray) -> None:
    with pytest.raises(WssegError, match=r"mask\.png: a PNG is for masks of pictures .*, use \.nii\.gz"):
        write_mask(tmp_path / "mask.png", Volume(np.zeros((4, 4, slices), np.uint8), affine))
    with pytest.raises(WssegError, match=r"unknown file type for a mask, expected \.nii\.gz, \.nii, \.nrrd, \.png"):
        write_mask(tmp_path / "mask.jpg", Volume(np.zeros((4, 4, 1), np.uint8), np.eye(4)))
    assert list(tmp_path.iterdir()) == []


def test_wrong_pictures_get_one_sentence(tmp_path: Path) -> None:
    for sentence, path in wrong_pictures(tmp_path).items():
        with pytest.raises(WssegError) as caught:
            read_volume(path)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
        if path.name != "cut.png":  # which only decoding tells
            with pytest.raises(WssegError) as again:
                read_grid(path)
            assert str(again.value) == str(caught.value)
    for read in (read_volume, read_grid):
        with pytest.raises(WssegError, match=r"none\.png: no such file"):
            read(tmp_path / "none.png")


@pytest.mark.parametrize("extension", PICTURES)
def test_the_size_alone_is_read_without_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    path = saved(tmp_path / f"tile{extension}")
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    grid = read_grid(path)
    assert grid.shape == (40, 24, 1)
    assert np.array_equal(grid.affine, np.diag([-1.0, -1.0, 1.0, 1.0]))


def test_a_jpeg_with_its_own_thumbnail_is_one_picture(tmp_path: Path) -> None:
    """As cameras write it, the whole picture first."""
    small = Image.fromarray(PICTURE).resize((10, 6))
    Image.fromarray(PICTURE).save(tmp_path / "tile.jpg", format="MPO", save_all=True, append_images=[small])
    assert read_volume(tmp_path / "tile.jpg").shape == read_grid(tmp_path / "tile.jpg").shape == (40, 24, 1)


def test_reading_leaves_the_filters_of_warnings_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads share them."""
    seen = []
    load = ImageFile.ImageFile.load

    def watched(picture: ImageFile.ImageFile) -> object:
        seen.append(warnings.filters)
        return load(picture)

    path, before = saved(tmp_path / "tile.tif"), warnings.filters
    monkeypatch.setattr(ImageFile.ImageFile, "load", watched)
    read_volume(path)
    assert seen
    assert all(filters is before for filters in seen)
