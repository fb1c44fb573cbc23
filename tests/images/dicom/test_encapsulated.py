"""Compressed streams that say, or unpack to, something else than the header of their file."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.encoders import RLELosslessEncoder
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom_series import COLUMNS, GEOMETRIES, ROWS, series, stored_pixels, write
from wsseg.errors import WssegError
from wsseg.images.dicom.series import read_series

PIXELS = (stored_pixels() + 300).astype(np.uint16)
"""(column, row, file), none negative, as not every encoder takes those."""


def jpeg_2000(picture: NDArray[np.generic]) -> bytes:
    """A codestream alone, without the boxes of a JP2 file."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, "JPEG2000", no_jp2=True)
    return stream.getvalue()


def jpeg_ls(columns: int, rows: int, samples: int = 1, bits: int = 16) -> bytes:
    """As much of a stream as says what it is of."""
    frame = struct.pack(">BHHB", bits, rows, columns, samples) + bytes([1, 0x11, 0]) * samples
    return b"\xff\xd8\xff\xf7" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xd9"


def run_lengths(picture: NDArray[np.generic], depth: int = 16) -> bytes:
    rows, columns = picture.shape
    said = {"samples_per_pixel": 1, "number_of_frames": 1, "pixel_representation": 0}
    bits = {"bits_allocated": depth, "bits_stored": depth, "photometric_interpretation": "MONOCHROME2"}
    return bytes(RLELosslessEncoder.encode(np.ascontiguousarray(picture), rows=rows, columns=columns, **said, **bits))


def altered(stream: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(stream)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)


PICTURE = PIXELS[:, :, 1].T
LARGER = np.pad(PICTURE, ((0, 3), (0, 5)))
TWICE = np.vstack([PICTURE, PICTURE])
SOUND = {JPEG2000Lossless: jpeg_2000, RLELossless: run_lengths, JPEGLSLossless: lambda _: jpeg_ls(COLUMNS, ROWS)}

LIES: dict[str, tuple[str, Callable[[], list[bytes]], str]] = {
    "a larger picture": (JPEG2000Lossless, lambda: [jpeg_2000(LARGER)], "19 x 14 pixels of 1 x 16 bits"),
    "a smaller one": (JPEG2000Lossless, lambda: [jpeg_2000(PICTURE[:5])], "14 x 5 pixels"),
    "columns for rows": (JPEG2000Lossless, lambda: [jpeg_2000(PICTURE.T)], "11 x 14 pixels"),
    "colours": (JPEG2000Lossless, lambda: [jpeg_2000(np.dstack([PICTURE.astype(np.uint8)] * 3))], "of 3 x 8 bits"),
    "fewer bits": (JPEG2000Lossless, lambda: [jpeg_2000(PICTURE.astype(np.uint8))], "of 1 x 8 bits"),
    "every second pixel": (JPEG2000Lossless, lambda: [altered(jpeg_2000(PICTURE), 43, "B", 2)], "7 x 11 pixels"),
    "no step": (JPEG2000Lossless, lambda: [altered(jpeg_2000(PICTURE), 43, "B", 0)], "not a whole DICOM file"),
    "too large": (
        JPEG2000Lossless,
        lambda: [altered(jpeg_2000(PICTURE), 8, ">I", 2**32 - 1)],
        "4294967295 x 11",
    ),
    "two pictures": (JPEG2000Lossless, lambda: [jpeg_2000(PICTURE)] * 2, "2 pictures"),
    "no picture": (JPEG2000Lossless, lambda: [b"nothing at all"], "not a whole DICOM file"),
    "a larger picture, JPEG-LS": (JPEGLSLossless, lambda: [jpeg_ls(19, 14)], "19 x 14 pixels of 1 x 16 bits"),
    "colours, JPEG-LS": (JPEGLSLossless, lambda: [jpeg_ls(COLUMNS, ROWS, 3)], "of 3 x 16 bits"),
    "fewer bits, JPEG-LS": (JPEGLSLossless, lambda: [jpeg_ls(COLUMNS, ROWS, bits=8)], "of 1 x 8 bits"),
    "markers without end": (JPEGLSLossless, lambda: [b"\xff\xd8" + b"\xff\xe0\0\2" * 5000], "not a whole DICOM file"),
    "a larger picture, RLE": (RLELossless, lambda: [run_lengths(LARGER)], "not 154 of 2 bytes"),
    "a taller one, RLE": (RLELossless, lambda: [run_lengths(TWICE)], "not 154 of 2 bytes"),
    "a smaller one, RLE": (RLELossless, lambda: [run_lengths(PICTURE[:5])], "not 154 of 2 bytes"),
    "fewer bits, RLE": (RLELossless, lambda: [run_lengths(PICTURE.astype(np.uint8), 8)], "not 154 of 2 bytes"),
    "two pictures, RLE": (RLELossless, lambda: [run_lengths(PICTURE)] * 2, "2 pictures"),
    "one byte twice, RLE": (RLELossless, lambda: [altered(run_lengths(PICTURE), 8, "<I", 64)], "not 154 of 2 bytes"),
    "15 bytes, RLE": (RLELossless, lambda: [altered(run_lengths(PICTURE), 0, "<I", 15)], "not 154 of 2 bytes"),
    "zeros without end, RLE": (RLELossless, lambda: [run_lengths(PICTURE) + b"\x81\0" * 10**6], "not 154 of 2 bytes"),
    "fragments without end": (JPEG2000Lossless, lambda: [jpeg_2000(PICTURE), *[b"\0\0"] * 40_000], "more parts than"),
}


def folder_of(tmp_path: Path, syntax: str, streams: list[bytes] | None = None) -> Path:
    """A series of compressed slices, the third of which is made of other streams if any are given."""
    images = series(GEOMETRIES["axial"], PIXELS.astype(np.int16))
    for k, image in enumerate(images):
        image.PixelRepresentation = 0
        hit = streams is not None and k == 2
        image.PixelData = encapsulate(streams if hit else [SOUND[syntax](PIXELS[:, :, k].T)])
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = syntax
    return write(images, tmp_path)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_what_is_sound_is_read(syntax: str, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_series(folder_of(tmp_path, syntax)).volume.voxels, PIXELS)


@pytest.mark.parametrize("lie", LIES)
def test_a_stream_that_is_of_something_else_is_refused_unread(lie: str, tmp_path: Path) -> None:
    syntax, streams, sentence = LIES[lie]
    with pytest.raises(WssegError, match=sentence):
        read_series(folder_of(tmp_path, syntax, streams()))


def test_a_stream_in_several_fragments_is_one_picture(tmp_path: Path) -> None:
    stream = jpeg_2000(PIXELS[:, :, 2].T)
    pieces = [stream[at : at + 50] for at in range(0, len(stream), 50)]
    folder = folder_of(tmp_path, JPEG2000Lossless, pieces)
    np.testing.assert_array_equal(read_series(folder).volume.voxels, PIXELS)
