"""Pictures of scans with masks: what people look at before they trust a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries

from wsseg.data.slices import evenly
from wsseg.files import whole_file
from wsseg.images.volume import SliceGrid, Volume, hung
from wsseg.models.package import ModelPackage

REFERENCE_COLOR = (255, 255, 0)

_FILL = 0.35
_HEIGHT = 192
"""Pixels of a slice in a sheet."""

_LETTERS = 12
"""Height of letters in pixels."""

_ALONE = 768
"""Most pixels of a picture that is shown alone."""


def contact_sheet(
    scan: Volume,
    mask: NDArray[np.uint8],
    grid: SliceGrid,
    colors: Sequence[tuple[int, int, int]],
    reference: NDArray[np.uint8] | None = None,
    most: int = 12,
) -> Image.Image:
    """Slices with the mask filled and the reference outlined, as radiologists hang them.

    The patient's right is on the left, anterior (or superior) up, and slices
    run from feet to head, numbered as they are stored; pixels are square in millimetres.

    Args:
        scan: the scan.
        mask: (x, y, slice) as the scan is stored.
        grid: how the scan is cut into slices.
        colors: red, green, blue of classes 1..N.
        reference: outlined in yellow where given.
        most: number of slices shown, evenly among those with something marked,
            or among all of them where nothing is.
    """
    slices, marked = grid.cut(scan.voxels), grid.cut(mask)
    truth = grid.cut(reference) if reference is not None else np.zeros_like(marked)
    shown = np.flatnonzero((marked > 0).any(axis=(1, 2)) | (truth > 0).any(axis=(1, 2)))
    if not len(shown):
        shown = np.arange(len(slices))
    chosen = evenly(shown.tolist(), most)
    shades = shown_colours(slices)[chosen]
    height = min(_ALONE, slices.shape[2]) if scan.colour else _HEIGHT
    rows_mm, columns_mm = (scan.spacing[axis] for axis in grid.plane_axes)
    tiles = [
        _tile(plane, marked[index], truth[index], colors, rows_mm / columns_mm, height)
        for plane, index in zip(shades, chosen, strict=True)
    ]
    if len(slices) > 1:
        for tile, index in zip(tiles, chosen, strict=True):
            _write(tile, f"{grid.stored(index, len(slices))}", (4, 2))
    return mosaic(tiles, min(6, len(tiles)))


def window(slices: NDArray[Any]) -> tuple[float, float]:
    """The intensities that are shown black and white."""
    low, high = np.percentile(slices, [0.5, 99.5])
    return float(low), float(high)


def shown_colours(slices: NDArray[Any]) -> NDArray[np.float32]:
    """Slices as they are shown, (slices, rows, columns, 3) in [0, 255]: colours as they are, grey between its ends."""
    if slices.ndim == 4:
        return slices.astype(np.float32)
    return np.repeat(windowed(slices, window(slices))[..., None] * 255, 3, axis=3)


def windowed(slices: NDArray[Any], ends: tuple[float, float]) -> NDArray[np.float32]:
    """Intensities in [0, 1] between those ends."""
    low, high = ends
    return np.clip((slices.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)


def mosaic(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    """Tiles of one size in one picture, row by row."""
    width, height = tiles[0].size
    sheet = Image.new(tiles[0].mode, (columns * width, -(-len(tiles) // columns) * height))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * width, index // columns * height))
    return sheet


def save_preview(path: Path, scan: Volume, mask: Volume, grid: SliceGrid, package: ModelPackage) -> None:
    """Write a contact sheet as PNG, in the package's colours, with the names of several classes below."""
    colors = {name: label.color for name, label in package.recipe.labels.items()}
    sheet = contact_sheet(scan, mask.voxels, grid, list(colors.values()))
    save_picture(path, with_legend(sheet, colors) if len(colors) > 1 else sheet)


def with_legend(sheet: Image.Image, colors: Mapping[str, tuple[int, int, int]]) -> Image.Image:
    """A picture with voxel values, names and their colours below it, in as many lines as its width asks for."""
    font = ImageFont.load_default(_LETTERS)
    line, places, across, down = 2 * _LETTERS, [], _LETTERS, 0
    named = {f"{value} {name}": color for value, (name, color) in enumerate(colors.items(), start=1)}
    for name in named:
        width = int(font.getlength(name)) + 3 * _LETTERS
        if across + width > sheet.width and across > _LETTERS:
            across, down = _LETTERS, down + line
        places.append((across, down))
        across += width
    found = Image.new("RGB", (sheet.width, sheet.height + down + line))
    found.paste(sheet)
    for (name, color), (left, top) in zip(named.items(), places, strict=True):
        top += sheet.height + _LETTERS // 2
        ImageDraw.Draw(found).rectangle((left, top, left + _LETTERS, top + _LETTERS), fill=color)
        _write(found, name, (left + 3 * _LETTERS // 2, top - 1))
    return found


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG, whole or not at all."""
    with whole_file(path) as part:
        picture.save(part, format="PNG")


def _write(picture: Image.Image, words: str, place: tuple[int, int]) -> None:
    """White letters with a black rim, which are read on whatever is behind them."""
    font = ImageFont.load_default(_LETTERS)
    ImageDraw.Draw(picture).text(place, words, fill="white", font=font, stroke_width=1, stroke_fill="black")


def _tile(
    plane: NDArray[np.float32],
    marked: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    colors: Sequence[tuple[int, int, int]],
    aspect: float,
    height: int,
) -> Image.Image:
    picture = plane.copy()
    for value, color in enumerate(colors, start=1):
        inside = marked == value
        picture[inside] = (1 - _FILL) * picture[inside] + _FILL * np.array(color)
        picture[find_boundaries(inside, mode="inner")] = color
    for value in np.unique(truth[truth > 0]):
        picture[find_boundaries(truth == value, mode="inner")] = REFERENCE_COLOR
    width = max(1, round(height * plane.shape[0] * aspect / plane.shape[1]))
    return Image.fromarray(hung(picture).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
