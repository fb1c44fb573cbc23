"""DICOM series in: every voxel at its place in the patient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.fileset import FileSet
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_series import (
    COLUMNS,
    GEOMETRIES,
    ROWS,
    SHAPE,
    SLICES,
    TILTED,
    Geometry,
    at,
    change,
    every_pixel,
    series,
    stored_pixels,
    write,
)
from wsseg.errors import NotFoundError, WssegError
from wsseg.images.dicom.series import read_series


@pytest.mark.parametrize("geometry", [*GEOMETRIES.values(), TILTED], ids=[*GEOMETRIES, "tilted gantry"])
def test_every_pixel_is_read_at_its_position(geometry: Geometry, tmp_path: Path) -> None:
    images = series(geometry)
    scan = read_series(write(images, tmp_path))
    assert scan.series_uid == images[0].SeriesInstanceUID
    assert scan.volume.voxels.shape == SHAPE
    index = every_pixel()
    np.testing.assert_array_equal(at(scan.volume, geometry.positions(index)), stored_pixels()[tuple(index.T)])


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_agrees_with_gdcm(geometry: Geometry, tmp_path: Path) -> None:
    folder = write(series(geometry), tmp_path)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    theirs = sitk.ReadImage(names)
    affine = np.eye(4)
    affine[:3, :3] = np.array(theirs.GetDirection()).reshape(3, 3) * theirs.GetSpacing()
    affine[:3, 3] = theirs.GetOrigin()
    ours = read_series(folder).volume
    np.testing.assert_array_equal(ours.voxels, sitk.GetArrayFromImage(theirs).T)
    np.testing.assert_allclose(ours.affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-6)


def test_rescale_of_each_file_is_applied(tmp_path: Path) -> None:
    geometry = GEOMETRIES["axial"]
    images = series(geometry)
    slopes = [1, 2, 0.5, 0.123456, 3, 1]
    for image, slope in zip(images, slopes, strict=True):
        image.RescaleSlope, image.RescaleIntercept = slope, -1024
    voxels = read_series(write(images, tmp_path)).volume.voxels
    np.testing.assert_allclose(voxels, stored_pixels() * np.array(slopes) - 1024, rtol=1e-6)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_other_encodings_are_read(syntax: UID, tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"], syntax=ExplicitVRLittleEndian if syntax.is_compressed else syntax)
    if syntax == RLELossless:
        for k, image in enumerate(images):
            image.compress(RLELossless, np.ascontiguousarray(stored_pixels()[:, :, k].T))
    np.testing.assert_array_equal(read_series(write(images, tmp_path)).volume.voxels, stored_pixels())


def test_slices_of_usual_size_are_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(-2000, 2000, (160, 120, 4), np.int16)
    images = series(GEOMETRIES["axial"], pixels)
    np.testing.assert_array_equal(read_series(write(images, tmp_path)).volume.voxels, pixels)
    images[1].PixelData = images[1].PixelData[:-160]
    with pytest.raises(WssegError, match="pixels are not all there"):
        read_series(write(images, tmp_path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_files_of_a_disc_are_read(tmp_path: Path) -> None:
    disc = FileSet()
    for image in series(GEOMETRIES["reversed"]):
        disc.add(image)
    disc.write(tmp_path)
    assert (tmp_path / "DICOMDIR").exists()
    np.testing.assert_array_equal(read_series(tmp_path).volume.voxels, stored_pixels()[:, :, ::-1])


def test_one_slice_is_a_volume(tmp_path: Path) -> None:
    geometry = GEOMETRIES["oblique"]
    one = series(geometry)[:1]
    volume = read_series(write(one, tmp_path)).volume
    assert volume.voxels.shape == (COLUMNS, ROWS, 1)
    np.testing.assert_allclose(volume.spacing, (0.8, 1.25, 4), rtol=1e-6)


def without(images: list[FileDataset], keyword: str) -> list[FileDataset]:
    del images[2][keyword]
    return images


def multi_frame(images: list[FileDataset]) -> list[FileDataset]:
    images[0].NumberOfFrames = SLICES
    images[0].PixelData = images[0].PixelData * SLICES
    return images[:1]


BAD: dict[str, tuple[Callable[[list[FileDataset]], list[FileDataset]], str]] = {
    "missing slice": (lambda s: s[:3] + s[4:], "missing or unevenly spaced, 10 mm between IM.* 5 mm is usual"),
    "missing slice of three": (lambda s: [s[0], s[1], s[3]], "missing or unevenly spaced, (5|10) mm"),
    "uneven by 2 %": (lambda s: change(s, 5, ImagePositionPatient=[-40.5, 12.25, -64.9]), "unevenly spaced, 5.1 mm"),
    "shifted sideways": (lambda s: change(s, 2, ImagePositionPatient=[-40, 12.25, -80]), "unevenly spaced"),
    "two echoes": (lambda s: s + change(series(GEOMETRIES["axial"]), 0, SeriesInstanceUID=s[0].SeriesInstanceUID)[:1],
                   "same position"),
    "two series": (lambda s: s + series(GEOMETRIES["oblique"]), r"2 image series, .*: 1\.2.*6 files.*, 1\.2"),
    "other orientation": (lambda s: change(s, 2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "another orientation"),
    **{
        f"slope {slope!r}": (lambda s, slope=slope: change(s, 2, RescaleSlope=slope), "RescaleSlope is")
        for slope in (0, "", [1, 2])
    },
    "bits beyond the pixels": (lambda s: change(s, 2, BitsAllocated=8), "BitsStored|BitsAllocated"),
    "12 bits": (lambda s: change(s, 2, BitsAllocated=12), "BitsAllocated is 12"),
    "a high bit elsewhere": (lambda s: change(s, 2, HighBit=3), "HighBit 3"),
    "a sign of 2": (lambda s: change(s, 2, PixelRepresentation=2), "PixelRepresentation is 2"),
    "three samples of grey": (lambda s: change(s, 2, SamplesPerPixel=3), "SamplesPerPixel is 3"),
    "a mosaic": (lambda s: change(s, 2, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "Siemens MOSAIC"),
    "a spacing of nanometres": (lambda s: change(s, 2, PixelSpacing=[1e-9, 1e-9]), "PixelSpacing says 1e-09 mm"),
    "other size": (lambda s: change(s, 2, Rows=ROWS - 1), "Rows and Columns say"),
    "other pixel spacing": (lambda s: change(s, 2, PixelSpacing=[1, 1]), "another size or pixel spacing"),
    "colour": (lambda s: change(s, 2, SamplesPerPixel=3, PhotometricInterpretation="RGB"), "is a colour image .'RGB'"),
    "palette": (lambda s: change(s, 2, PhotometricInterpretation="PALETTE COLOR"), "is a colour image"),
    "multi-frame": (multi_frame, "multi-frame image, convert"),
    "enhanced": (lambda s: change(s, 0, SharedFunctionalGroupsSequence=[Dataset()])[:1], "multi-frame image, convert"),
    "no position": (lambda s: without(s, "ImagePositionPatient"), "ImagePositionPatient is missing"),
    "no orientation": (lambda s: without(s, "ImageOrientationPatient"), "ImageOrientationPatient is missing"),
    "no spacing": (lambda s: without(s, "PixelSpacing"), "PixelSpacing is missing"),
    "no series": (lambda s: without(s, "SeriesInstanceUID"), "SeriesInstanceUID is missing"),
    "no pixels": (lambda s: without(s, "PixelData"), "pixels are not all there"),
    "short pixels": (lambda s: change(s, 2, PixelData=s[2].PixelData[:-2]), "pixels are not all there"),
    "spacing of 0": (lambda s: change(s, 2, PixelSpacing=[0, 1]), "PixelSpacing says 0 mm"),
    "skew axes": (lambda s: change(s, 2, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "perpendicular"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "sentence"), BAD.values(), ids=BAD)
def test_bad_series_is_refused(
    spoil: Callable[[list[FileDataset]], list[FileDataset]], sentence: str, tmp_path: Path
) -> None:
    folder = write(spoil(series(GEOMETRIES["axial"])), tmp_path)
    with pytest.raises(WssegError, match=sentence) as caught:
        read_series(folder)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_positions_may_be_rounded(tmp_path: Path) -> None:
    images = change(series(GEOMETRIES["axial"]), 2, ImagePositionPatient=[-40.5, 12.25, -79.98])
    assert read_series(write(images, tmp_path)).volume.spacing[2] == pytest.approx(5)


def test_what_is_no_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        read_series(tmp_path / "absent")
    with pytest.raises(WssegError, match="holds no DICOM image"):
        read_series(tmp_path)
    (tmp_path / "notes.txt").write_text("text", encoding="utf-8")
    with pytest.raises(WssegError, match="holds no DICOM image"):
        read_series(tmp_path)
    with pytest.raises(WssegError, match="is a file"):
        read_series(tmp_path / "notes.txt")
    (tmp_path / "slice.dcm").write_text("text", encoding="utf-8")
    with pytest.raises(WssegError, match=r"slice\.dcm: is not a whole DICOM file"):
        read_series(tmp_path)


@pytest.mark.filterwarnings("ignore:.*(Invalid value for VR|End of file reached)")
@pytest.mark.parametrize("compressed", [False, True])
def test_file_cut_off_anywhere_is_refused(compressed: bool, tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"])
    if compressed:
        images[5].compress(RLELossless, np.ascontiguousarray(stored_pixels()[:, :, 5].T))
    folder = write(images, tmp_path)
    last = folder / f"IM{(7 * 5) % 11:04d}"
    whole = last.read_bytes()
    ending = 4 if compressed else 0  # the delimiter's length, always 0
    for length in {*range(23, len(whole) - ending, 23), 1, 127, 128, 130, 131, 132, len(whole) - ending - 1}:
        last.write_bytes(whole[:length])
        with pytest.raises(WssegError):
            read_series(folder)
    last.write_bytes(whole)
    assert read_series(folder).volume.voxels.shape == SHAPE


@pytest.mark.filterwarnings("ignore:End of file reached")
def test_fragment_longer_than_its_file_is_refused_unread(tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"])
    images[5].compress(RLELossless, np.ascontiguousarray(stored_pixels()[:, :, 5].T))
    folder = write(images, tmp_path)
    last = folder / f"IM{(7 * 5) % 11:04d}"
    table, fragment, tag = b"\xe0\x7f\x10\x00OB", b"\xfe\xff\x00\xe0", 4
    whole = bytearray(last.read_bytes())
    first = whole.index(fragment, whole.index(table))  # the offset table, before the pixels
    second = whole.index(fragment, first + tag)
    whole[second + tag : second + tag + 4] = (0xF0000000).to_bytes(4, "little")
    last.write_bytes(whole)
    with pytest.raises(WssegError, match="pixels are not all there"):
        read_series(folder)


def test_value_longer_than_its_file_is_refused_unread(tmp_path: Path) -> None:
    folder = write(series(GEOMETRIES["axial"]), tmp_path)
    padding = b"\xfc\xff\xfc\xffOB\0\0" + (0xF0000000).to_bytes(4, "little")
    with (folder / "IM0000").open("ab") as file:
        file.write(padding + b"\0" * 16)
    with pytest.raises(WssegError, match="IM0000: is not a whole DICOM file"):
        read_series(folder)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_damaged_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    folder = write(series(GEOMETRIES["axial"]), tmp_path)
    path = folder / "IM0000"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(132, len(whole) - 308, 3):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            read_series(folder)
        except WssegError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("beside", ["", "rtstruct.dcm", "empty.dcm", "notes.txt"])
def test_a_series_without_preambles_is_read_whatever_lies_beside_it(beside: str, tmp_path: Path) -> None:
    folder = write(series(GEOMETRIES["axial"]), tmp_path)
    expected = read_series(folder).volume
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[132:])
    if beside == "rtstruct.dcm":
        other = series(GEOMETRIES["axial"])[0]
        other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
        del other.PixelData
        other.save_as(folder / beside)
    elif beside:
        (folder / beside).write_bytes(b"" if beside == "empty.dcm" else b"seen by nobody")
    found = read_series(folder).volume
    assert np.array_equal(found.voxels, expected.voxels)
    assert np.array_equal(found.affine, expected.affine)


@pytest.mark.parametrize(
    ("step", "sentence"), [((1000, 0, 5), "sideways"), ((0, 0, 0.002), "ImagePositionPatient says 0.002 mm")]
)
def test_slices_that_no_scanner_makes(step: tuple[float, ...], sentence: str, tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"])
    for index, image in enumerate(images):
        image.ImagePositionPatient = [index * part for part in step]
    with pytest.raises(WssegError, match=sentence):
        read_series(write(images, tmp_path))
