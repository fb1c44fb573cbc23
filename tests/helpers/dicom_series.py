"""Made DICOM series, and where their pixels lie in the patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from wsseg.images.dicom.series import DicomScan
from wsseg.images.volume import Volume

MR_IMAGE = UID("1.2.840.10008.5.1.4.1.1.4")

COLUMNS, ROWS, SLICES = 14, 11, 6
SHAPE = (COLUMNS, ROWS, SLICES)


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


def change(images: list[FileDataset], k: int, **attributes: object) -> list[FileDataset]:
    """Give one file of a series other attributes."""
    for keyword, value in attributes.items():
        setattr(images[k], keyword, value)
    return images
