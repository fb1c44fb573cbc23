"""Measurements as a DICOM Structured Report (TID 1500) that refers to the SEGs they were taken from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    QualitativeEvaluation,
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
from wsseg.images.dicom.seg import Identity, named
from wsseg.images.dicom.series import DicomScan
from wsseg.images.segments import Segments

MILLILITRE = Code("ml", "UCUM", "milliliter")

PROCEDURES: Mapping[str, Code] = {"CT": codes.LN.CTUnspecifiedBodyRegion, "MR": codes.LN.MRIUnspecifiedBodyRegion}
"""What was done, by modality (CID 100)."""

PHASES = {"ED": Code("109022", "DCM", "End diastole"), "ES": Code("416430001", "SCT", "End Systole")}

OURS = "99WSSEG"
"""The scheme of codes that no standard has."""

DICE = Code("predicted-dice", OURS, "Predicted Dice coefficient of the segment")
DICE_BOUND = Code("dice-bound", OURS, "Dice coefficient exceeded in nine of ten such scans")
FITS = Code("fits", OURS, "The scan is of the kind that the model was trained on")
NEGATIVE = Code("negative", OURS, "The scan was segmented as its negative")
FITS_P = Code("fits-p", OURS, "p-value of the scan to be of the model's training scans' kind")


class ExpectedDice(Protocol):
    """How good a class's mask is expected to be."""

    @property
    def value(self) -> float:
        """In [0, 1]."""

    @property
    def at_least(self) -> float | None:
        """Exceeded in nine of ten scans; None where that is not known."""


class Fitting(Protocol):
    """Whether a scan is like those that the model was trained on."""

    @property
    def p(self) -> float:
        """Of a scan of their kind, the probability to lie as far from them, in [0, 1]."""

    @property
    def doubtful(self) -> bool:
        """Whether that is too little."""


@dataclass(frozen=True)
class Measured:
    """A scan's SEG, and what is known of it.

    Attributes:
        scan: the scan.
        seg: the file.
        millilitres: by class.
        dice: by class; none where it is not predicted.
        fits: None where the model cannot tell.
        phase: of a beat, "ED" or "ES"; "" of what does not beat.
        negative: whether its negative was segmented, which is told beside ``fits``.
    """

    scan: DicomScan
    seg: Path
    millilitres: Mapping[str, float]
    dice: Mapping[str, ExpectedDice] = field(default_factory=dict)
    fits: Fitting | None = None
    phase: str = ""
    negative: bool = False

    def named(self, what: str) -> str:
        """What something of this scan is called, as in "left ventricle, ED"."""
        return f"{what}, {self.phase}" if self.phase else what


class Ejected(Protocol):
    """Of one cavity: stroke volume, and the ejected part in [0, 1]."""

    @property
    def stroke_ml(self) -> float:
        """What one beat ejects."""

    @property
    def fraction(self) -> float:
        """In parts of the fullest volume."""


def write_sr(
    path: Path,
    scans: Sequence[Measured],
    ejected: Mapping[str, Ejected],
    segments: Segments,
    identity: Identity | None = None,
) -> None:
    """Write the report: each segment's volume and predicted Dice, whether the scan fits, what each cavity ejects.

    Args:
        path: of the file.
        scans: of one study.
        ejected: by class that is a cavity.
        segments: the classes and who made the masks.
        identity: what it is known by, by default something new.

    Raises:
        WssegError: the series lacks what a report must refer to, or the file cannot be written.
    """
    segs = [dcmread(scan.seg) for scan in scans]
    with named(scans[0].scan.series_uid):
        report = _Report(identity or Identity.new(), segments)
        groups = [
            *(
                report.volume(scan, number, name, seg)
                for scan, seg in zip(scans, segs, strict=True)
                for number, name in _numbers(seg).items()
            ),
            *(report.fit(scan, scan.fits) for scan in scans if scan.fits is not None),
            *(report.ejection(name, ejection) for name, ejection in ejected.items()),
        ]
        evidence = [*segs, *(source for scan in scans for source in scan.scan.sources)]
        procedure = PROCEDURES.get(str(scans[0].scan.sources[0].get("Modality")), codes.SCT.ImagingProcedure)
        sr = report.document(groups, procedure, evidence)
        with whole_file(path) as part:
            sr.save_as(part, write_like_original=False)


def _numbers(seg: Dataset) -> dict[int, str]:
    """Segment numbers of a SEG with their names."""
    return {int(segment.SegmentNumber): str(segment.SegmentLabel) for segment in seg.SegmentSequence}


class _Report:
    """What all parts of one report share; UIDs in it follow from its own, so that made again it is the same."""

    def __init__(self, identity: Identity, segments: Segments) -> None:
        self._identity = identity
        self._segments = segments
        self._algorithm = AlgorithmIdentification(segments.author, segments.version)

    def volume(
        self, scan: Measured, number: int, name: str, seg: Dataset
    ) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
        """One segment."""
        label = self._segments.labels[name]
        measurements = [Measurement(codes.SCT.Volume, round(scan.millilitres[name], 3), MILLILITRE)]
        if name in scan.dice:
            dice = scan.dice[name]
            told = {DICE: dice.value, **({} if dice.at_least is None else {DICE_BOUND: dice.at_least})}
            measurements += [Measurement(code, round(value, 4), codes.UCUM.NoUnits) for code, value in told.items()]
        return VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracked(scan.named(name)),
            referenced_segment=ReferencedSegment.from_segmentation(seg, number),
            finding_category=Code(label.category.value, label.category.scheme, label.category.meaning),
            finding_type=Code(label.type.value, label.type.scheme, label.type.meaning),
            time_point_context=TimePointContext(scan.phase, PHASES[scan.phase]) if scan.phase else None,
            algorithm_id=self._algorithm,
            measurements=measurements,
        )

    def fit(self, scan: Measured, fits: Fitting) -> MeasurementsAndQualitativeEvaluations:
        """The scan as a whole."""
        said = {FITS: not fits.doubtful, NEGATIVE: scan.negative}
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracked(scan.named("scan")),
            algorithm_id=self._algorithm,
            measurements=[Measurement(FITS_P, float(f"{fits.p:.3g}"), codes.UCUM.NoUnits)],
            qualitative_evaluations=[
                QualitativeEvaluation(what, codes.SCT.Yes if true else codes.SCT.No) for what, true in said.items()
            ],
        )

    def ejection(self, name: str, ejection: Ejected) -> MeasurementsAndQualitativeEvaluations:
        """One cavity."""
        kind = self._segments.labels[name].type
        site = Code(kind.value, kind.scheme, kind.meaning)
        return MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracked(f"{name}, ejection"),
            finding_type=site,
            finding_sites=[FindingSite(site)],
            algorithm_id=self._algorithm,
            measurements=[
                Measurement(codes.SCT.StrokeVolume, round(ejection.stroke_ml, 3), MILLILITRE),
                Measurement(codes.SCT.CardiacEjectionFraction, round(100 * ejection.fraction, 2), codes.UCUM.Percent),
            ],
        )

    def document(self, groups: Sequence[Dataset], procedure: Code, evidence: Sequence[Dataset]) -> Comprehensive3DSR:
        """The whole; the first of the evidence is a SEG, whose patient and study it takes."""
        author, version = self._segments.author, self._segments.version
        device = DeviceObserverIdentifyingAttributes(self._uid("device"), author, "wsseg", author)
        report = MeasurementReport(
            observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
            procedure_reported=procedure,
            imaging_measurements=groups,
        )
        sr = Comprehensive3DSR(
            evidence=evidence,
            content=report[0],
            series_instance_uid=self._identity.series,
            series_number=int(evidence[0].SeriesNumber) + 1000,
            sop_instance_uid=self._identity.instance,
            instance_number=1,
            manufacturer="wsseg",
            is_complete=True,
            series_description=f"{author} {version}"[:64],
        )
        sr.SpecificCharacterSet = "ISO_IR 192"
        return sr

    def _tracked(self, what: str) -> TrackingIdentifier:
        return TrackingIdentifier(self._uid(what), what)

    def _uid(self, what: str) -> str:
        return str(generate_uid(entropy_srcs=[self._identity.instance, what]))
