"""Pictures: PNG, JPEG and TIFF in, masks as PNG out."""

from __future__ import annotations

import logging
import mmap
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from wsseg.errors import WssegError
from wsseg.images.limits import CountedReads, check_size, opened
from wsseg.images.volume import UPRIGHT, Volume

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""File name endings of pictures."""

_FORMATS = ("PNG", "JPEG", "TIFF")
"""What a file may hold, whatever its name; Pillow would start Ghostscript for an EPS."""

_TIFF_BITS = 258
"""TIFF's tag BitsPerSample, a number for each channel."""

_PNG_BITS = 24
"""Where a PNG's bit depth stands: IHDR comes first, and its width and height before it."""

MOST_SCANS = 100
"""Of a progressive JPEG, each of which takes as long as a whole picture; cameras and browsers know about ten."""

_SCAN = b"\xff\xda"
"""How a scan begins; within one these bytes do not follow each other."""

MOST_STRIPS = 1_000_000
"""Of a TIFF, for each of which Pillow sets some hundred bytes aside; also of its tiles."""

_STRIPS = (273, 279, 324, 325)
"""Tags with a value for each strip or tile."""

Image.MAX_IMAGE_PIXELS = None  # ours is the limit

logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
# Pillow's remarks on damage would stand beside our one sentence. Once and for all, as threads share the filters.
warnings.filterwarnings("ignore", module=r"PIL\.")


GREY = ("1", "L")
"""Pillow's modes of pictures without colours."""


def read_picture(path: Path) -> Image.Image:
    """A TIFF, PNG or JPEG, decoded to its end.

    Raises:
        WssegError: missing, damaged, not a picture, several pages, or more than
            8 bits a channel.
    """
    with _opened(path) as picture:
        picture.load()
        return picture


def read_pixels(path: Path) -> Volume:
    """The pixels of a picture as stored, uint8: (columns, rows, 1) of grey ones, else (columns, rows, 1, 3) in RGB."""
    picture = read_picture(path)
    pixels = np.asarray(picture.convert("L" if picture.mode in GREY else "RGB"))
    return Volume(np.ascontiguousarray(pixels.swapaxes(0, 1)[:, :, None]), UPRIGHT)


def read_pixels_grid(path: Path) -> Volume:
    """:func:`read_pixels` without the pixels: all are 0, and none is decoded."""
    with _opened(path) as picture:
        colours = () if picture.mode in GREY else (3,)
        return Volume(np.broadcast_to(np.uint8(0), (*picture.size, 1, *colours)), UPRIGHT)


def write_png(path: Path, mask: Volume) -> None:
    """Write (columns, rows, 1) as a grey PNG, values as they are."""
    Image.fromarray(mask.voxels[:, :, 0].T.astype(np.uint8)).save(path, format="PNG")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture whose header alone has been read; what goes wrong with it is one sentence."""
    try:
        _check_parts(path)
        with CountedReads.of(path) as file, Image.open(file, formats=_FORMATS) as picture:
            check_size((*picture.size, len(picture.getbands())), 1, path)
            pages = getattr(picture, "n_frames", 1)
            if pages > 1 and picture.format != "MPO":  # a camera's JPEG, which holds its own thumbnails
                raise WssegError(f"{path}: holds {pages} pictures, save one in a file")
            if _bits(picture, path) > 8:
                raise WssegError(f"{path}: has more than 8 bits a channel, save it with 8")
            if picture.format == "PNG":
                _check_png(path)
            yield picture
    except WssegError:
        raise
    except Exception as error:  # whatever a crafted file sets off in Pillow
        raise WssegError(f"{path}: cannot be read as a picture, it may be damaged ({error})") from error


def _check_png(path: Path) -> None:
    """Let Pillow look through the checksums of all parts, which it does not where it decodes them."""
    with CountedReads.of(path) as file, Image.open(file, formats=("PNG",)) as picture:
        picture.verify()


def _check_parts(path: Path) -> None:
    """Refuse what would keep Pillow busy for minutes, or fill the memory, before it opens a file."""
    with opened(path) as file:
        start = file.read(16)
        if start.startswith(b"\xff\xd8"):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                at = scans = 0
                while (at := content.find(_SCAN, at) + 2) > 1:
                    scans += 1
                    if scans > MOST_SCANS:
                        raise WssegError(f"{path}: is a JPEG of more than {MOST_SCANS} scans, save it anew")
        elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            _check_strips(file, start, path)


def _check_strips(file: BinaryIO, start: bytes, path: Path) -> None:
    """Refuse a TIFF of more strips or tiles than a picture has."""
    order, big = "<" if start[:1] == b"I" else ">", b"+" in start[:4]
    place, number, entry = ("Q", "Q", "HHQ8x") if big else ("I", "H", "HHI4x")
    file.seek(struct.unpack_from(order + place, start, 8 if big else 4)[0])
    (tags,) = struct.unpack(order + number, file.read(struct.calcsize(order + number)))
    for tag, _, count in struct.iter_unpack(
        order + entry, file.read(struct.calcsize(order + entry) * min(tags, 65536))
    ):
        if tag in _STRIPS and count > MOST_STRIPS:
            raise WssegError(f"{path}: is a TIFF of {count} strips or tiles, at most {MOST_STRIPS} are read")


def _bits(picture: Image.Image, path: Path) -> int:
    """Bits a channel in the file: Pillow cuts 16 of colours to 8 in silence."""
    if isinstance(picture, TiffImageFile):
        return int(max(picture.tag_v2.get(_TIFF_BITS, (1,))))
    if picture.format == "PNG":
        with path.open("rb") as file:
            return file.read(_PNG_BITS + 1)[_PNG_BITS]
    return 8
