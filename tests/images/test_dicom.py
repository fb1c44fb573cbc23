"""DICOM series in, DICOM SEG out: every voxel at its place in the patient, under its name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)
from skimage.color import lab2rgb

from wsseg.errors import NotFoundError, WssegError
from wsseg.images.dicom.seg import write_seg
from wsseg.images.dicom.series import DicomScan, read_series
from wsseg.images.formats import read_volume, write_mask
from wsseg.images.volume import Volume
from wsseg.labels.space import Code, Label
from wsseg.models.package import Metadata, ModelPackage, Recipe, read_package, write_package

MR_IMAGE = UID("1.2.840.10008.5.1.4.1.1.4")
BASIC_TEXT_SR = UID("1.2.840.10008.5.1.4.1.1.88.11")

COLUMNS, ROWS, SLICES = 14, 11, 6
SHAPE = (COLUMNS, ROWS, SLICES)
COLOURS = {"left ventricle": (200, 30, 60), "myocardium": (20, 180, 220), "right ventricle": (255, 250, 240)}


@dataclass(frozen=True)
class Geometry:
    """A series' place in the patient: millimetres, LPS+.

    Attributes:
        origin: centre of the first pixel of the first file.
        right, down: unit vectors along which columns and rows count up.
        step: from one file to the next.
    """

    origin: tuple[float, float, float]
    right: NDArray[np.float64]
    down: NDArray[np.float64]
    step: NDArray[np.float64]
    between_columns: float = 0.8
    between_rows: float = 1.25

    def positions(self, index: NDArray[np.integer]) -> NDArray[np.float64]:
        """(n, 3) mm of (n, 3) pixel indices: column, row, file."""
        edges = np.stack([self.right * self.between_columns, self.down * self.between_rows, self.step])
        return np.asarray(self.origin) + index @ edges


def turned(around_x: float, around_z: float) -> NDArray[np.float64]:
    """A rotation by two angles in degrees."""
    a, b = np.deg2rad([around_x, around_z])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return z @ x


OBLIQUE = turned(35, 50)
IDENTITY = np.eye(3)
GEOMETRIES = {
    "axial": Geometry((-40.5, 12.25, -90), IDENTITY[0], IDENTITY[1], 5 * IDENTITY[2]),
    "reversed": Geometry((-40.5, 12.25, 60), IDENTITY[0], IDENTITY[1], -5 * IDENTITY[2]),
    "oblique": Geometry((10, -60.125, 33), OBLIQUE[:, 0], OBLIQUE[:, 1], 4.5 * OBLIQUE[:, 2]),
}
TILTED = Geometry((0, 0, 0), IDENTITY[0], IDENTITY[1], np.array([0, 1.1, 5.0]))


def stored_pixels(seed: int = 0) -> NDArray[np.int16]:
    """(column, row, file), all different, negative ones too."""
    count = COLUMNS * ROWS * SLICES
    return np.random.default_rng(seed).permutation(np.arange(count) - 300).astype(np.int16).reshape(SHAPE)


def part_10(kind: UID, syntax: UID = ExplicitVRLittleEndian) -> FileDataset:
    """An empty DICOM object of a kind."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    made.is_little_endian, made.is_implicit_VR = True, syntax.is_implicit_VR
    made.SOPClassUID, made.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    return made


def series(
    geometry: Geometry, pixels: NDArray[np.int16] | None = None, syntax: UID = ExplicitVRLittleEndian
) -> list[FileDataset]:
    """A classic MR series of one study, a data set per slice."""
    pixels = stored_pixels() if pixels is None else pixels
    study, uid, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for k in range(pixels.shape[2]):
        image = part_10(MR_IMAGE, syntax)
        image.SpecificCharacterSet = "ISO_IR 100"
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, uid, frame
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Müller^Jörg", "7", "", "M"
        image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20240229", "101530", "3", ""
        image.ReferringPhysicianName, image.Modality, image.SeriesNumber = "", "MR", 4
        image.InstanceNumber = k + 1
        image.ImagePositionPatient = [f"{v:.9g}" for v in geometry.positions(np.array([[0, 0, k]]))[0]]
        image.ImageOrientationPatient = [f"{v:.9f}" for v in (*geometry.right, *geometry.down)]
        image.PixelSpacing = [geometry.between_rows, geometry.between_columns]
        image.SliceThickness = 4
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Columns, image.Rows = pixels.shape[:2]
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.PixelData = pixels[:, :, k].T.tobytes()
        made.append(image)
    return made


def write(images: Iterable[Dataset], folder: Path) -> Path:
    """Store a series under names in no order, without an extension."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, image in enumerate(images):
        image.save_as(folder / f"IM{(7 * k) % 11:04d}", write_like_original=False)
    return folder


def at(volume: Volume, positions: NDArray[np.float64]) -> NDArray[np.generic]:
    """A volume's voxels at positions in the patient (LPS+), which must be voxel centres."""
    ras = positions * [-1, -1, 1]
    index = (np.c_[ras, np.ones(len(ras))] @ np.linalg.inv(volume.affine).T)[:, :3]
    assert np.abs(index - index.round()).max() < 1e-4
    return volume.voxels[tuple(index.round().astype(int).T)]


def every_pixel() -> NDArray[np.integer]:
    """(n, 3) index of every stored pixel: column, row, file."""
    return np.argwhere(np.ones(SHAPE, bool))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    structure = Code(scheme="SCT", value="123037004", meaning="Anatomical Structure")
    meanings = {
        "left ventricle": Code(scheme="SCT", value="87878005", meaning="Left ventricle"),
        "myocardium": Code(scheme="SCT", value="74281007", meaning="Myocardium"),
        "right ventricle": Code(scheme="SCT", value="53085002", meaning="Right ventricle"),
    }
    recipe = Recipe(
        format=2,
        method="cam",
        settings={},
        labels={n: Label(color=COLOURS[n], category=structure, type=meanings[n]) for n in COLOURS},
        size=64,
        modality="MR",
        licence="none",
    )
    metadata = Metadata(version="1.2.0", changelog={}, description="test", authors="test", wsseg=recipe)
    folder = tmp_path_factory.mktemp("models") / "heart-cine"
    write_package(folder, metadata, {"weight": torch.zeros(1)}, "card", "licence")
    return read_package(folder)


def mask_of(scan: DicomScan, classes: Iterable[int]) -> Volume:
    """About a tenth of the voxels in each class, in every slice but two."""
    rng = np.random.default_rng(5)
    voxels = np.zeros(scan.volume.voxels.shape, np.uint8)
    for value in classes:
        voxels[rng.random(voxels.shape) < 0.1] = value
    voxels[:, :, [0, 3]] = 0
    return scan.volume.like(voxels)


def marked(mask: Volume, value: int) -> NDArray[np.float64]:
    """(n, 3) mm, LPS+, of the voxels of a class, sorted."""
    index = np.argwhere(mask.voxels == value)
    return in_order((np.c_[index, np.ones(len(index))] @ mask.affine.T)[:, :3] * [-1, -1, 1])


def in_order(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    return positions[np.lexsort(positions.round(3).T)]


def shown(seg: Dataset) -> dict[str, NDArray[np.float64]]:
    """By segment label: (n, 3) mm, LPS+, of its pixels, as the SEG's own attributes place them."""
    labels = {int(s.SegmentNumber): s.SegmentLabel for s in seg.SegmentSequence}
    shared = seg.SharedFunctionalGroupsSequence[0]
    axes = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found: dict[str, list[NDArray[np.float64]]] = {label: [] for label in labels.values()}
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        row, column = np.nonzero(frame)
        corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        place = corner + np.outer(column * between_columns, axes[0]) + np.outer(row * between_rows, axes[1])
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found[labels[number]].append(place)
    return {label: in_order(np.concatenate(parts)) for label, parts in found.items()}


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


def test_sub_folders_are_read_and_other_objects_passed_over(package: ModelPackage, tmp_path: Path) -> None:
    images = series(GEOMETRIES["oblique"])
    write(images[:3], tmp_path / "a")
    write(images[3:], tmp_path / "b" / "c")
    scan = read_series(tmp_path)
    write_seg(tmp_path / "seg.dcm", mask_of(scan, [1]), scan, package.segments)
    report = part_10(BASIC_TEXT_SR)
    report.SeriesInstanceUID, report.Modality = generate_uid(), "SR"
    report.save_as(tmp_path / "report", write_like_original=False)
    (tmp_path / "notes.txt").write_text("not DICOM\n" * 100)
    (tmp_path / ".DS_Store").write_bytes(b"")
    again = read_series(tmp_path)
    assert again.series_uid == scan.series_uid
    np.testing.assert_array_equal(again.volume.voxels, scan.volume.voxels)


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


def change(images: list[FileDataset], k: int, **attributes: object) -> list[FileDataset]:
    for keyword, value in attributes.items():
        setattr(images[k], keyword, value)
    return images


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
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(WssegError, match="holds no DICOM image"):
        read_series(tmp_path)
    with pytest.raises(WssegError, match="is a file"):
        read_series(tmp_path / "notes.txt")
    (tmp_path / "slice.dcm").write_text("text")
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


@pytest.mark.parametrize("geometry", [*GEOMETRIES.values(), TILTED], ids=[*GEOMETRIES, "tilted gantry"])
def test_segments_lie_at_their_position_under_their_name(
    geometry: Geometry, package: ModelPackage, tmp_path: Path
) -> None:
    scan = read_series(write(series(geometry), tmp_path / "in"))
    mask = mask_of(scan, [1, 3])
    write_seg(tmp_path / "seg.dcm", mask, scan, package.segments)
    seg = dcmread(tmp_path / "seg.dcm")
    found = shown(seg)
    assert list(found) == ["left ventricle", "right ventricle"]
    for name, value in (("left ventricle", 1), ("right ventricle", 3)):
        assert len(found[name]) > 20
        np.testing.assert_allclose(found[name], marked(mask, value), atol=1e-3)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_highdicom_reads_each_frame_over_its_source(geometry: Geometry, package: ModelPackage, tmp_path: Path) -> None:
    images = series(geometry)
    scan = read_series(write(images, tmp_path / "in"))
    mask = mask_of(scan, [2, 3])
    write_seg(tmp_path / "seg.dcm", mask, scan, package.segments)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")

    uids = [source.SOPInstanceUID for source in scan.sources]
    frames = seg.get_pixels_by_source_instance(uids, combine_segments=True)
    renumbered = np.array([0, 0, 1, 2])[mask.voxels]
    np.testing.assert_array_equal(frames, renumbered.T)

    assert seg.NumberOfFrames == 2 * SLICES
    position = {image.SOPInstanceUID: image.ImagePositionPatient for image in images}
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        here = groups.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(np.array(here, float), np.array(position[source], float), atol=1e-6)
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    np.testing.assert_allclose(
        [*measures.PixelSpacing, measures.SpacingBetweenSlices], [1.25, 0.8, np.linalg.norm(geometry.step)], rtol=1e-6
    )


def test_dcmqi_reads_the_same_masks(package: ModelPackage, tmp_path: Path) -> None:
    tool = Path(sys.executable).parent / "segimage2itkimage"
    if not tool.exists():
        pytest.skip("dcmqi is not installed")
    scan = read_series(write(series(GEOMETRIES["oblique"]), tmp_path / "in"))
    mask = mask_of(scan, [1, 3])
    write_seg(tmp_path / "seg.dcm", mask, scan, package.segments)
    command = [tool, "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path, "--outputType", "nrrd"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    for number, value in ((1, 1), (2, 3)):
        theirs = read_volume(tmp_path / f"{number}.nrrd")
        theirs_at = marked(Volume(theirs.voxels > 0, theirs.affine), True)
        np.testing.assert_allclose(theirs_at, marked(mask, value), atol=1e-3)


def test_seg_describes_its_segments_and_its_study(package: ModelPackage, tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"])
    scan = read_series(write(images, tmp_path / "in"))
    write_seg(tmp_path / "seg.dcm", mask_of(scan, [1, 2, 3]), scan, package.segments)
    seg = dcmread(tmp_path / "seg.dcm")
    assert seg.SegmentationType == "BINARY"
    assert seg.StudyInstanceUID == images[0].StudyInstanceUID
    assert seg.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    assert seg.SeriesInstanceUID != scan.series_uid
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    assert "Müller^Jörg".encode() in (tmp_path / "seg.dcm").read_bytes()
    assert [int(s.SegmentNumber) for s in seg.SegmentSequence] == [1, 2, 3]
    for segment, (name, label) in zip(seg.SegmentSequence, package.recipe.labels.items(), strict=True):
        assert segment.SegmentLabel == name
        for sequence, code in (
            (segment.SegmentedPropertyCategoryCodeSequence, label.category),
            (segment.SegmentedPropertyTypeCodeSequence, label.type),
        ):
            item = sequence[0]
            assert (item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning) == (
                code.scheme,
                code.value,
                code.meaning,
            )
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("heart-cine", "1.2.0")
        scaled = np.array(segment.RecommendedDisplayCIELabValue) / 0xFFFF
        rgb = lab2rgb(scaled * [100, 255, 255] - [0, 128, 128]) * 255
        np.testing.assert_allclose(rgb, COLOURS[name], atol=1)


@pytest.mark.parametrize(
    ("axes", "flipped"), [((2, 0, 1), (1,)), ((1, 0, 2), (0, 2)), ((0, 2, 1), ())], ids=["turned", "flipped", "swapped"]
)
def test_mask_may_be_stored_along_other_axes(
    axes: tuple[int, ...], flipped: tuple[int, ...], package: ModelPackage, tmp_path: Path
) -> None:
    scan = read_series(write(series(GEOMETRIES["oblique"]), tmp_path / "in"))
    mask = mask_of(scan, [1, 3])
    voxels, affine = mask.voxels.transpose(axes), mask.affine[:, [*axes, 3]].copy()
    for axis in flipped:
        affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
        affine[:3, axis] *= -1
        voxels = np.flip(voxels, axis)
    write_seg(tmp_path / "seg.dcm", Volume(voxels, affine), scan, package.segments)
    found = shown(dcmread(tmp_path / "seg.dcm"))
    np.testing.assert_allclose(found["left ventricle"], marked(mask, 1), atol=1e-3)
    np.testing.assert_allclose(found["right ventricle"], marked(mask, 3), atol=1e-3)


def test_empty_mask_lists_every_class_without_a_pixel(package: ModelPackage, tmp_path: Path) -> None:
    scan = read_series(write(series(GEOMETRIES["reversed"]), tmp_path / "in"))
    write_seg(tmp_path / "seg.dcm", mask_of(scan, []), scan, package.segments)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == list(COLOURS)
    uids = [source.SOPInstanceUID for source in scan.sources]
    frames = seg.get_pixels_by_source_instance(uids)
    assert frames.shape == (SLICES, ROWS, COLUMNS, 3)
    assert not frames.any()


def test_frame_count_of_1_is_no_multi_frame_image(package: ModelPackage, tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"])
    for image in images:
        image.NumberOfFrames = 1
    scan = read_series(write(images, tmp_path / "in"))
    write_seg(tmp_path / "seg.dcm", mask_of(scan, [1]), scan, package.segments)
    assert len(shown(dcmread(tmp_path / "seg.dcm"))["left ventricle"]) > 20


def test_headers_that_archives_thin_out_are_enough(package: ModelPackage, tmp_path: Path) -> None:
    images = series(GEOMETRIES["axial"])
    for image in images:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "StudyTime", "StudyID",
                        "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "SliceThickness"):  # fmt: skip
            del image[keyword]
        image.PatientSex = "UNKNOWN"
    scan = read_series(write(images, tmp_path / "in"))
    write_seg(tmp_path / "seg.dcm", mask_of(scan, [1]), scan, package.segments)
    assert highdicom.seg.segread(tmp_path / "seg.dcm").SeriesNumber == 1000


def test_seg_that_cannot_be_written_leaves_nothing(package: ModelPackage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    images = series(GEOMETRIES["axial"])
    for image in images:
        del image.FrameOfReferenceUID
    scan = read_series(write(images, tmp_path / "in"))
    mask = mask_of(scan, [1])
    with pytest.raises(WssegError, match=r"Frame Of Reference.* write \.nii\.gz"):
        write_seg(out / "seg.dcm", mask, scan, package.segments)
    with pytest.raises(WssegError, match="classes up to 4"):
        write_seg(out / "seg.dcm", mask_of(scan, [4]), scan, package.segments)
    shifted = mask.affine.copy()
    shifted[0, 3] += 1
    with pytest.raises(WssegError, match="not on the grid"):
        write_seg(out / "seg.dcm", Volume(mask.voxels, shifted), scan, package.segments)
    with pytest.raises(WssegError, match="not on the grid"):
        write_seg(out / "seg.dcm", Volume(mask.voxels[1:], mask.affine), scan, package.segments)
    assert not list(out.iterdir())

    good = read_series(write(series(GEOMETRIES["axial"]), tmp_path / "good"))
    with pytest.raises(WssegError, match="cannot be written"):
        write_seg(tmp_path / "absent" / "seg.dcm", mask_of(good, [1]), good, package.segments)


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd"])
def test_mask_of_a_series_can_be_another_format(ending: str, tmp_path: Path) -> None:
    scan = read_series(write(series(GEOMETRIES["oblique"]), tmp_path / "in"))
    mask = mask_of(scan, [1, 2])
    write_mask(tmp_path / f"mask.{ending}", mask)
    again = read_volume(tmp_path / f"mask.{ending}")
    np.testing.assert_array_equal(again.voxels, mask.voxels)
    np.testing.assert_allclose(again.affine, mask.affine, atol=1e-4)


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


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("PatientBirthDate", "00000000"), ("StudyDate", "2024-02-29"), ("StudyDate", "20241399")),
        *(("StudyTime", "10:15:30"), ("LossyImageCompression", "01"), ("PatientSex", "X"), ("StudyTime", "996199")),
    ],
)
def test_a_seg_is_written_whatever_an_archive_says_of_the_patient(
    keyword: str, value: str, package: ModelPackage, tmp_path: Path
) -> None:
    images = series(GEOMETRIES["axial"])
    for image in images:
        setattr(image, keyword, value)
    scan = read_series(write(images, tmp_path))
    mask = mask_of(scan, [1, 2])
    write_seg(tmp_path / "seg.dcm", mask, scan, package.segments)
    seg = dcmread(tmp_path / "seg.dcm")
    assert str(seg.get(keyword) or "") in (value, "")
    assert seg.StudyInstanceUID == images[0].StudyInstanceUID


def test_no_library_tells_a_name(package: ModelPackage, tmp_path: Path) -> None:
    """In a process of its own, since pytest takes the place of the streams."""
    images = series(GEOMETRIES["axial"])
    for image in images:
        image.PatientName = "Doe^Jane=======x" + "y" * 80
        image.PatientBirthDate = "Doe-1970"
        image.SpecificCharacterSet = "ISO_IR 999"
    folder = write(images, tmp_path / "series")
    script = """
import sys
from pathlib import Path
from wsseg.errors import WssegError
from wsseg.images.dicom.seg import write_seg
from wsseg.images.dicom.series import read_series
from wsseg.models.shelf import find_package
scan = read_series(Path(sys.argv[1]))
try:
    mask = scan.volume.like((scan.volume.voxels * 0).astype("uint8"))
    write_seg(Path(sys.argv[2]), mask, scan, find_package("cldf-glioma-flair").segments)
except WssegError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(folder), str(tmp_path / "seg.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Doe" not in done.stdout + done.stderr
