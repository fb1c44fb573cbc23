"""A beating heart in 4-D NIfTI and in DICOM; measurements of it as a structured report."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from cine import write_cine
from wsseg.errors import WssegError
from wsseg.images.dicom.seg import write_seg
from wsseg.images.dicom.sr import DICE, DICE_BOUND, FITS, FITS_P, NEGATIVE, Measured, write_sr
from wsseg.images.scan import read_frames, read_scan
from wsseg.images.segments import Segments
from wsseg.inference.measure import Ejection
from wsseg.inference.quality.dice import PredictedDice
from wsseg.inference.quality.fits import Fits
from wsseg.labels.space import Code, Label

SHAPE, TIMES = (12, 10, 3), 4
AFFINE = np.diag([-2.0, -2.0, 8.0, 1.0])


def _beat() -> NDArray[np.int16]:
    """(x, y, slices, times), every value another."""
    return np.arange(np.prod((*SHAPE, TIMES)), dtype=np.int16).reshape(*SHAPE, TIMES)


def test_a_4d_nifti_is_a_scan_a_time(tmp_path: Path) -> None:
    file = tmp_path / "cine.nii.gz"
    nib.save(nib.Nifti1Image(_beat(), AFFINE), file)
    frames = read_frames(file)
    assert [frame.case for frame in frames] == [f"cine_frame{time:02d}" for time in (1, 2, 3, 4)]
    for time, frame in enumerate(frames):
        assert np.array_equal(frame.volume.voxels, _beat()[..., time])
        assert np.array_equal(frame.volume.affine, AFFINE)
    with pytest.raises(WssegError, match="4 dimensions"):
        read_scan(file)


def test_a_scan_without_times_is_one(tmp_path: Path) -> None:
    for name, voxels in (("a.nii.gz", _beat()[..., 0]), ("b.nii", _beat()[..., :1])):
        nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / name)
        (frame,) = read_frames(tmp_path / name)
        assert (frame.case, frame.volume.shape) == (name[0], SHAPE)
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 2, 2), np.int16), AFFINE), tmp_path / "five.nii")
    with pytest.raises(WssegError, match="5 dimensions"):
        read_frames(tmp_path / "five.nii")


def test_a_dicom_cine_is_a_scan_a_time(tmp_path: Path) -> None:
    frames = read_frames(write_cine(tmp_path / "cine", _beat()))
    assert len(frames) == TIMES
    for time, frame in enumerate(frames):
        assert np.array_equal(frame.volume.voxels, _beat()[..., time])
        assert frame.series is not None
        assert [float(source.TriggerTime) for source in frame.series.sources] == [40.0 * time] * SHAPE[2]
    next((tmp_path / "cine").iterdir()).unlink()
    with pytest.raises(WssegError, match="some slices at 3 times and others at 4"):
        read_frames(tmp_path / "cine")


def test_measurements_refer_to_the_segments_they_are_of(tmp_path: Path) -> None:
    frames = read_frames(write_cine(tmp_path / "cine", _beat()))
    heart = Code(scheme="SCT", value="123037004", meaning="Anatomical Structure")
    kinds = {
        "left ventricle": Code(scheme="SCT", value="87878005", meaning="Left ventricle"),
        "myocardium": Code(scheme="SCT", value="74281007", meaning="Myocardium"),
    }
    labels = {name: Label(color=(200, 40, 40), category=heart, type=kind) for name, kind in kinds.items()}
    segments = Segments(labels, "heart-model", "1.0")
    phases = []
    for phase, frame in (("ED", frames[0]), ("ES", frames[2])):
        mask = np.zeros(SHAPE, np.uint8)
        mask[2:6, 2:6], mask[7:9, 2:6] = 1, 2
        assert frame.series is not None
        write_seg(tmp_path / f"{phase}.dcm", frame.volume.like(mask), frame.series, segments)
        told = {"left ventricle": 120.5, "myocardium": 80.0}
        dice = {"left ventricle": PredictedDice(0.91234, 0.8, "masks"), "myocardium": PredictedDice(0.7, None, "masks")}
        fits = Fits(0.4 if phase == "ED" else 0.01, "as seen")
        phases.append(Measured(frame.series, tmp_path / f"{phase}.dcm", told, dice, fits, phase, phase == "ES"))
    write_sr(tmp_path / "sr.dcm", phases, {"left ventricle": Ejection(120.0, 48.0)}, segments)
    sr, segs = dcmread(tmp_path / "sr.dcm"), [dcmread(phase.seg) for phase in phases]
    assert sr.Modality == "SR"
    assert sr.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert sr.StudyInstanceUID == segs[0].StudyInstanceUID
    assert sr.PatientID == "p"
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    cited = {str(item.ReferencedSOPInstanceUID) for series in evidence for item in series.ReferencedSOPSequence}
    assert {seg.SOPInstanceUID for seg in segs} <= cited
    values = _numbers(sr)
    assert ("Cardiac Ejection Fraction", 60.0, "%") in values
    assert ("Stroke Volume", 72.0, "ml") in values
    assert values.count(("Volume", 120.5, "ml")) == 2
    assert values.count((DICE.meaning, 0.9123, "1")) == values.count((DICE.meaning, 0.7, "1")) == 2
    assert [value for value in values if value[0] == DICE_BOUND.meaning] == [(DICE_BOUND.meaning, 0.8, "1")] * 2
    assert [value[1] for value in values if value[0] == FITS_P.meaning] == [0.4, 0.01]
    assert [item.ConceptCodeSequence[0].CodeMeaning for item in _said(sr, FITS.meaning)] == ["Yes", "No"]
    assert [item.ConceptCodeSequence[0].CodeMeaning for item in _said(sr, NEGATIVE.meaning)] == ["No", "Yes"]


def _said(item: Dataset, meaning: str) -> list[Dataset]:
    """Every item of a content tree that is called so."""
    found = []
    for child in item.get("ContentSequence", []):
        if child.get("ConceptNameCodeSequence") and child.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            found.append(child)
        found += _said(child, meaning)
    return found


def _numbers(item: object) -> list[tuple[str, float, str]]:
    """Every number of a content tree: what it is, its value and unit."""
    found = []
    for child in getattr(item, "ContentSequence", []):
        if child.ValueType == "NUM":
            value = child.MeasuredValueSequence[0]
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            found.append((child.ConceptNameCodeSequence[0].CodeMeaning, float(value.NumericValue), unit))
        found += _numbers(child)
    return found
