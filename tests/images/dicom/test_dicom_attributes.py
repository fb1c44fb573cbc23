"""Every attribute that a series is read by, with every value that it must not have: refused, or the same voxels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_series import GEOMETRIES, series, stored_pixels, write
from wsseg.errors import WssegError
from wsseg.images.dicom.series import read_series

COUNTS = {
    **{"ImageOrientationPatient": 6, "PixelSpacing": 2, "ImagePositionPatient": 3, "SpacingBetweenSlices": 1},
    **{"SliceThickness": 1, "RescaleSlope": 1, "RescaleIntercept": 1},
}
"""Values of the attributes that are numbers in text."""

TEXT_NUMBERS = ("abc", "nan", "1e400", "0x10", "0,8", "1_0", "-", "1\\1\\1\\1\\1\\1\\1", "")
"""No number, or of some the wrong count."""

WORDS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel")
"""Attributes that are two bytes."""

BYTES = (b"\0\0", b"\x07\0", b"\xff\xff", b"\x00\x80", b"\x10\0\x10\0")

NAMES = ("PhotometricInterpretation", "SeriesInstanceUID")

UNREAD = "SliceThickness"
"""Where positions tell how far slices are apart, it says nothing."""


def given(keyword: str) -> list[bytes | None]:
    """Wrong values as they stand in a file; None leaves the attribute out."""
    if keyword in COUNTS:
        return [b"\\".join([text.encode()] * COUNTS[keyword]) for text in TEXT_NUMBERS]
    if keyword == "BitsAllocated":  # without which pydicom writes no file
        return list(BYTES[:-1])
    if keyword == "PixelRepresentation":  # 0 may be right
        return [None, b"", *BYTES[1:]]
    if keyword in WORDS:
        return [None, b"", *BYTES]
    return [None, b"", b"abc", b"\0\0", b"A\\B"]


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("keyword", [*COUNTS, *WORDS, *NAMES])
def test_a_wrong_value_is_refused_or_changes_nothing(keyword: str, everywhere: bool, tmp_path: Path) -> None:
    tag = Tag(keyword)
    accepted = []
    for number, value in enumerate(given(keyword)):
        images = series(GEOMETRIES["axial"])
        for image in images if everywhere else images[2:3]:
            if tag in image:
                del image[tag]
            if value is not None:
                raw = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
                image[tag] = raw
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            folder = write(images, tmp_path / str(number))
            try:
                found = read_series(folder).volume
            except WssegError:
                continue
        np.testing.assert_array_equal(found.voxels, stored_pixels(), err_msg=f"{value!r}")
        np.testing.assert_allclose(found.spacing, (0.8, 1.25, 5), err_msg=f"{value!r}")
        accepted.append(value)
    if keyword != UNREAD:
        assert set(accepted) <= {None, b""}


def test_spacing_that_is_none_is_named(tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"])
    images[1].SpacingBetweenSlices = 0
    with pytest.raises(WssegError, match="SpacingBetweenSlices is '0"):
        read_series(write(images, tmp_path))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescaling_that_one_file_lacks(keyword: str, tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"])
    for image in images:
        image.RescaleSlope, image.RescaleIntercept = 2, -1024
    del images[3][keyword]
    with pytest.raises(WssegError, match=f"{keyword} is in this file or in IM.*, but not in both"):
        read_series(write(images, tmp_path))
