"""Measurements as a DICOM Structured Report (TID 1500) that refers to the SEGs they were taken from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    ReferencedSegment,
    TimePointContext,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from wsseg.files import whole_file
from wsseg.images.dicom.seg import named
from wsseg.images.dicom.series import DicomScan
from wsseg.images.segments import Segments

MILLILITRE = Code("ml", "UCUM", "milliliter")
PROCEDURE = Code("241620005", "SCT", "MRI of heart")
PHASES = {"ED": Code("109022", "DCM", "End diastole"), "ES": Code("416430001", "SCT", "End Systole")}


@dataclass(frozen=True)
class PhaseVolumes:
    """What one frame's SEG came to.

    Attributes:
        phase: "ED" or "ES".
        scan: the frame.
        seg: the file.
        millilitres: by class.
    """

    phase: str
    scan: DicomScan
    seg: Path
    millilitres: Mapping[str, float]


class Ejected(Protocol):
    """Of one cavity: stroke volume, and the ejected part in [0, 1]."""

    @property
    def stroke_ml(self) -> float:
        """What one beat ejects."""

    @property
    def fraction(self) -> float:
        """In parts of the fullest volume."""


def write_sr(path: Path, phases: Sequence[PhaseVolumes], ejected: Mapping[str, Ejected], segments: Segments) -> None:
    """Write the report: each class's volume at each phase, of its segment, and what each cavity ejects.

    Raises:
        WssegError: the series lacks what a report must refer to, or the file cannot be written.
    """
    segs = [dcmread(phase.seg) for phase in phases]
    algorithm = AlgorithmIdentification(segments.author, segments.version)
    with named(phases[0].scan.series_uid):
        groups = [
            *(
                _volume(phase, number, name, seg, segments, algorithm)
                for phase, seg in zip(phases, segs, strict=True)
                for number, name in _numbers(seg).items()
            ),
            *(_ejection(name, ejection, segments, algorithm) for name, ejection in ejected.items()),
        ]
        device = DeviceObserverIdentifyingAttributes(generate_uid(), segments.author, "wsseg", segments.author)
        report = MeasurementReport(
            observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
            procedure_reported=PROCEDURE,
            imaging_measurements=groups,
        )
        sr = Comprehensive3DSR(
            evidence=[*segs, *(source for phase in phases for source in phase.scan.sources)],
            content=report[0],
            series_instance_uid=generate_uid(),
            series_number=int(segs[0].SeriesNumber) + 1000,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="wsseg",
            is_complete=True,
            series_description=f"{segments.author} {segments.version}"[:64],
        )
        sr.SpecificCharacterSet = "ISO_IR 192"
        with whole_file(path) as part:
            sr.save_as(part, write_like_original=False)


def _numbers(seg: Dataset) -> dict[int, str]:
    """Segment numbers of a SEG with their names."""
    return {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in seg.SegmentSequence}


def _volume(
    phase: PhaseVolumes, number: int, name: str, seg: Dataset, segments: Segments, algorithm: AlgorithmIdentification
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    label = segments.labels[name]
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(generate_uid(), f"{name}, {phase.phase}"),
        referenced_segment=ReferencedSegment.from_segmentation(seg, number),
        finding_category=Code(label.category.value, label.category.scheme, label.category.meaning),
        finding_type=Code(label.type.value, label.type.scheme, label.type.meaning),
        time_point_context=TimePointContext(phase.phase, PHASES[phase.phase]),
        algorithm_id=algorithm,
        measurements=[Measurement(codes.SCT.Volume, round(phase.millilitres[name], 3), MILLILITRE)],
    )


def _ejection(
    name: str, ejection: Ejected, segments: Segments, algorithm: AlgorithmIdentification
) -> MeasurementsAndQualitativeEvaluations:
    kind = segments.labels[name].type
    site = Code(kind.value, kind.scheme, kind.meaning)
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(generate_uid(), f"{name}, ejection"),
        finding_type=site,
        finding_sites=[FindingSite(site)],
        algorithm_id=algorithm,
        measurements=[
            Measurement(codes.SCT.StrokeVolume, round(ejection.stroke_ml, 3), MILLILITRE),
            Measurement(codes.SCT.CardiacEjectionFraction, round(100 * ejection.fraction, 2), codes.UCUM.Percent),
        ],
    )
