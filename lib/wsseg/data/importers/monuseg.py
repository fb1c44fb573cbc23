"""MoNuSeg (Kumar et al. 2017): H&E tiles with the outline of every nucleus."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.draw import polygon

from wsseg.data.importers.release import Progress, each, list_folder
from wsseg.errors import NotFoundError, WssegError
from wsseg.files import make_folder, whole_file
from wsseg.images.formats.picture import PICTURES, read_picture
from wsseg.labels.space import LabelSpace

LABELS = LabelSpace(("nucleus",))

SHIFT = -0.9
"""Pixels that the masks in use lie up and left of the outlines.

They were made with MATLAB's ``poly2mask``, which counts pixels from 1 and
rounds vertices to fifths of a pixel. With this shift ours agree (Dice 0.997).
"""


def import_monuseg(source: Path, out: Path, progress: Progress) -> int:
    """Turn ``Tissue Images/<tile>.tif`` and ``Annotations/<tile>.xml`` into our layout.

    The test release keeps both side by side in one folder; that is read too.
    Writes ``<tile>.png`` (RGB) and ``<tile>_label.png`` (255 = nucleus).

    Returns:
        The number of tiles.

    Raises:
        WssegError: nothing found, or a tile or its annotation is missing or
            damaged.
    """
    pictures, annotations = _folder(source, "Tissue Images"), _folder(source, "Annotations")
    tiles = [file for file in list_folder(pictures) if file.suffix.lower() in PICTURES]
    if not tiles:
        raise WssegError(f"{pictures}: holds no picture ({', '.join(PICTURES)})")
    make_folder(out)
    for tile in each(tiles, progress):
        picture = read_picture(tile).convert("RGB")
        outlines = read_outlines(annotations / f"{tile.stem}.xml")
        label = fill(outlines, (picture.height, picture.width))
        _write_png(out / f"{tile.stem}.png", picture)
        _write_png(out / f"{tile.stem}_label.png", Image.fromarray(label))
    return len(tiles)


def read_outlines(path: Path) -> list[NDArray[np.float64]]:
    """Every nucleus of an Aperio annotation as vertices (n, 2): row, column.

    Raises:
        WssegError: missing, not XML, without regions, or with a vertex whose
            place is not a number.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file, every tile needs its annotation")
    try:
        regions = list(ElementTree.parse(path).iter("Region"))
        outlines = [np.array([_place(vertex) for vertex in region.iter("Vertex")]) for region in regions]
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise WssegError(f"{path}: cannot be read as an annotation, it may be damaged ({error})") from error
    if not regions:
        raise WssegError(f"{path}: outlines no nucleus (no Region in it)")
    if not all(np.isfinite(outline).all() for outline in outlines):
        raise WssegError(f"{path}: has a vertex whose place is not a finite number")
    return outlines


def fill(outlines: list[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask (rows, columns) of all outlines, 255 inside; less than three vertices enclose nothing."""
    mask = np.zeros(shape, np.uint8)
    for outline in outlines:
        if len(outline) >= 3:
            mask[polygon(*(outline.T + SHIFT), shape)] = 255
    return mask


def _place(vertex: ElementTree.Element) -> tuple[float, float]:
    return float(vertex.attrib["Y"]), float(vertex.attrib["X"])


def _folder(source: Path, name: str) -> Path:
    """The named part of the release, or the release itself where all lies in one folder."""
    return source / name if (source / name).is_dir() else source


def _write_png(path: Path, picture: Image.Image) -> None:
    with whole_file(path) as part:
        picture.save(part)
