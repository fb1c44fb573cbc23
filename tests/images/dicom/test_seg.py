"""DICOM SEG out: every voxel at its place in the patient, under its name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    generate_uid,
)
from skimage.color import lab2rgb

from dicom_series import (
    COLUMNS,
    GEOMETRIES,
    ROWS,
    SLICES,
    TILTED,
    Geometry,
    in_order,
    marked,
    mask_of,
    part_10,
    series,
    write,
)
from wsseg.errors import WssegError
from wsseg.images.dicom.seg import write_seg
from wsseg.images.dicom.series import read_series
from wsseg.images.dicom.uids import REFERENCES
from wsseg.images.formats.table import read_volume, write_mask
from wsseg.images.volume import Volume
from wsseg.labels.space import Code, Label
from wsseg.models.package import Metadata, ModelPackage, Recipe, read_package, write_package

BASIC_TEXT_SR = UID("1.2.840.10008.5.1.4.1.1.88.11")
COLOURS = {"left ventricle": (200, 30, 60), "myocardium": (20, 180, 220), "right ventricle": (255, 250, 240)}


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


def test_a_remark_stands_where_viewers_show_it(package: ModelPackage, tmp_path: Path) -> None:
    scan = read_series(write(series(GEOMETRIES["reversed"]), tmp_path / "in"))
    remark = f"does not fit the model, p = 1e-06: unlike its training scans in size{' and more' * 200}"
    write_seg(tmp_path / "seg.dcm", mask_of(scan, [1]), scan, replace(package.segments, remark=remark))
    seg = dcmread(tmp_path / "seg.dcm")
    assert seg.SeriesDescription == f"{package.name} {package.metadata.version}: {remark}"[:64].rstrip()
    assert seg.ContentDescription == remark[:64].rstrip()
    assert [each.SegmentDescription for each in seg.SegmentSequence] == [remark[:1024].rstrip()]


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


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("keyword", [*REFERENCES, "FrameOfReferenceUID"])
def test_nothing_refers_to_what_is_no_uid(keyword: str, package: ModelPackage, tmp_path: Path) -> None:
    scan = read_series(write(series(GEOMETRIES["axial"]), tmp_path / "in"))
    for hostile in ("../../x", "", "1" * 65, "1.2\n"):
        scan.sources[2].data_element(keyword)._value = hostile
        with pytest.raises(WssegError, match=f"cannot refer to it .{keyword} is missing or no UID"):
            write_seg(tmp_path / "seg.dcm", mask_of(scan, [1]), scan, package.segments)
    assert not (tmp_path / "seg.dcm").exists()


def test_seg_that_cannot_be_written_leaves_nothing(package: ModelPackage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    images = series(GEOMETRIES["axial"])
    for image in images:
        del image.FrameOfReferenceUID
    scan = read_series(write(images, tmp_path / "in"))
    mask = mask_of(scan, [1])
    with pytest.raises(WssegError, match=r"FrameOfReferenceUID is missing.* write \.nii\.gz"):
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
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Doe" not in done.stdout + done.stderr


def test_sub_folders_are_read_and_other_objects_passed_over(package: ModelPackage, tmp_path: Path) -> None:
    images = series(GEOMETRIES["oblique"])
    write(images[:3], tmp_path / "a")
    write(images[3:], tmp_path / "b" / "c")
    scan = read_series(tmp_path)
    write_seg(tmp_path / "seg.dcm", mask_of(scan, [1]), scan, package.segments)
    report = part_10(BASIC_TEXT_SR)
    report.SeriesInstanceUID, report.Modality = generate_uid(), "SR"
    report.save_as(tmp_path / "report", write_like_original=False)
    (tmp_path / "notes.txt").write_text("not DICOM\n" * 100, encoding="utf-8")
    (tmp_path / ".DS_Store").write_bytes(b"")
    again = read_series(tmp_path)
    assert again.series_uid == scan.series_uid
    np.testing.assert_array_equal(again.volume.voxels, scan.volume.voxels)
