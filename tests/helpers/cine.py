"""A beating phantom as a DICOM series, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

MR_IMAGE = UID("1.2.840.10008.5.1.4.1.1.4")


def write_cine(folder: Path, beat: NDArray[np.int16], **attributes: str) -> Path:
    """A DICOM series of every slice of (x, y, slices, times), its files in no order, told apart by TriggerTime alone.

    Voxels are 2 x 2 x 8 mm, along the axes of LPS+ from its origin. ``attributes`` are set in every file.
    """
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    columns, rows, slices, times = beat.shape
    order = np.random.default_rng(0).permutation(slices * times)
    for number, at in enumerate(order):
        k, time = divmod(int(at), times)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MR_IMAGE, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        each = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        each.is_little_endian, each.is_implicit_VR = True, False
        each.SOPClassUID, each.SOPInstanceUID = MR_IMAGE, meta.MediaStorageSOPInstanceUID
        each.StudyInstanceUID, each.SeriesInstanceUID, each.FrameOfReferenceUID = study, series, frame
        each.PatientID, each.PatientName, each.PatientBirthDate, each.PatientSex = "p", "Phantom^Heart", "", ""
        each.StudyID, each.StudyDate, each.StudyTime, each.AccessionNumber, each.Modality = "1", "", "", "", "MR"
        each.ReferringPhysicianName, each.Manufacturer, each.PositionReferenceIndicator = "", "", ""
        each.SeriesNumber, each.InstanceNumber, each.TriggerTime = 1, number + 1, 40.0 * time
        each.Rows, each.Columns, each.PixelSpacing, each.SliceThickness = rows, columns, [2, 2], 8
        each.ImageOrientationPatient, each.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 8 * k]
        each.SamplesPerPixel, each.PhotometricInterpretation, each.PixelRepresentation = 1, "MONOCHROME2", 1
        each.BitsAllocated, each.BitsStored, each.HighBit = 16, 16, 15
        each.update(attributes)
        each.PixelData = np.ascontiguousarray(beat[:, :, k, time].T).tobytes()
        each.save_as(folder / f"{number}.dcm", write_like_original=False)
    return folder
