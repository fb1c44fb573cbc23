"""Pictures: PNG, JPEG and TIFF in, masks as PNG out."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsseg.errors import WssegError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""File name endings of pictures."""

_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged or no pictures."""


def read_picture(path: Path) -> Image.Image:
    """A TIFF, PNG or JPEG, decoded to its end.

    Raises:
        WssegError: missing, damaged or not a picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on damage would stand beside our one sentence
            with Image.open(path) as picture:
                picture.load()
                return picture
    except _UNREADABLE as error:
        raise WssegError(f"{path}: cannot be read as a picture, it may be damaged ({error})") from error


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """The pixels of a picture as stored, uint8: (columns, rows, 1) of grey ones, else (columns, rows, 1, 3) in RGB."""
    picture = read_picture(path)
    if picture.mode.startswith(("I", "F")):
        raise WssegError(f"{path}: has more than 8 bits a pixel, save it with 8")
    grey = picture.mode in ("1", "L")
    pixels = np.asarray(picture.convert("L" if grey else "RGB"))
    return np.ascontiguousarray(pixels.swapaxes(0, 1)[:, :, None])


def write_png(path: Path, mask: NDArray[np.integer]) -> None:
    """Write a mask (columns, rows, 1) as a grey PNG: 255 where there is one class only, else the classes' values."""
    shown = np.where(mask > 0, 255, 0) if mask.max() <= 1 else mask
    Image.fromarray(shown[:, :, 0].T.astype(np.uint8)).save(path, format="PNG")


def classes_of(path: Path, pixels: NDArray[np.integer], classes: int) -> NDArray[np.integer]:
    """Class values of a mask from a file; in a picture the only class may be 255."""
    white = classes == 1 and path.name.lower().endswith(PICTURES)
    return np.where(pixels == 255, 1, pixels) if white else pixels
