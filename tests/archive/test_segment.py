"""One series to one DICOM SEG and one SR, whoever tries it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from highdicom.sr import MeasurementReport
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from stub import Stub, archive_stub, renamed, series_files

from conftest import MakePackage
from wsseg.archive.destination import address_of, deliver, open_destination
from wsseg.archive.segment import SeriesSegmenter
from wsseg.archive.web.client import Pacs
from wsseg.archive.web.series import Series
from wsseg.archive.work import Claim
from wsseg.errors import WssegError
from wsseg.images.dicom.series import read_series
from wsseg.inference.segmenter import Segmenter

__all__ = ["archive_stub", "series_files"]


@pytest.fixture
def segmenter(make_package: MakePackage) -> Segmenter:
    return Segmenter(make_package().folder)


def claim_of(stub: Stub, files: list[Path]) -> Claim:
    first = dcmread(files[0])
    return Claim(7, Series(stub.add(files), str(first.StudyInstanceUID), len(files), {}))


def handler(stub: Stub, segmenter: Segmenter, to: str) -> SeriesSegmenter:
    return SeriesSegmenter(segmenter, Pacs(stub.url), open_destination(to))


def test_a_second_try_is_the_same_object(stub: Stub, files: list[Path], segmenter: Segmenter, tmp_path: Path) -> None:
    claim = claim_of(stub, files)
    first, second = (handler(stub, segmenter, stub.url)(claim) for _ in range(2))
    assert (first.id, first.error, first.sizes) == (7, "", second.sizes)
    assert first.quality is not None
    seg, sr = stub.stored
    assert (seg.Modality, sr.Modality) == ("SEG", "SR")
    assert handler(stub, segmenter, address_of(str(tmp_path / "out")))(claim).error == ""
    again = {copy.name: dcmread(copy) for copy in (tmp_path / "out").rglob("*.dcm")}
    assert set(again) == {f"{result.SOPInstanceUID}.dcm" for result in stub.stored}
    for result in stub.stored:
        same = again[f"{result.SOPInstanceUID}.dcm"]
        assert same.SeriesInstanceUID == result.SeriesInstanceUID
        assert [*_uids(same)] == [*_uids(result)], "it is the same inside too"


def _uids(item: Dataset) -> Iterator[str]:
    """Every UID in an object by which others may know it or a part of it."""
    for element in item.iterall():
        if element.VR == "UI" and element.keyword != "DimensionOrganizationUID":
            yield str(element.value)


def test_the_report_tells_what_the_row_does(stub: Stub, files: list[Path], segmenter: Segmenter) -> None:
    outcome = handler(stub, segmenter, stub.url)(claim_of(stub, files))
    seg, sr = stub.stored
    (group,) = MeasurementReport.from_sequence([sr]).get_volumetric_roi_measurement_groups()
    assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
    (volume,) = group.get_measurements(codes.SCT.Volume)
    assert volume.value == outcome.sizes["tumor"] > 0
    assert group.tracking_identifier == "tumor"


def test_what_is_missing_of_an_earlier_try_is_sent_and_nothing_twice(
    stub: Stub, files: list[Path], segmenter: Segmenter
) -> None:
    claim = claim_of(stub, files)
    assert handler(stub, segmenter, stub.url)(claim).error == ""
    sr = stub.stored.pop()
    assert handler(stub, segmenter, stub.url)(claim).error == ""
    assert [result.Modality for result in stub.stored] == ["SEG", "SR"]
    assert stub.stored[1].SOPInstanceUID == sr.SOPInstanceUID


def test_done_is_what_the_archive_confirms(stub: Stub, files: list[Path], segmenter: Segmenter) -> None:
    claim = claim_of(stub, files)
    stub.confirms = False
    outcome = handler(stub, segmenter, stub.url)(claim)
    assert (outcome.passing, "does not list it yet" in outcome.error) == (True, True)
    stub.confirms = True
    assert handler(stub, segmenter, stub.url)(claim).error == ""
    assert len({result.SOPInstanceUID for result in stub.stored}) == 2


def test_what_cannot_be_segmented_is_told_and_not_tried_again(
    stub: Stub, files: list[Path], segmenter: Segmenter
) -> None:
    claim = claim_of(stub, [*files[:2], *files[3:]])
    outcome = handler(stub, segmenter, stub.url)(claim)
    assert "slices are missing" in outcome.error
    assert outcome.error.startswith(claim.series.uid), "it is named as people know it, not by a temporary folder"
    assert not outcome.passing
    gone = handler(stub, segmenter, stub.url)(Claim(8, Series("1.99", "1.2", 3, {})))
    assert ("404" in gone.error, gone.passing) == (True, False)
    stub.failing = [503] * 99
    assert handler(stub, segmenter, stub.url)(claim).passing
    assert stub.stored == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_study_whose_uid_is_a_path_leads_nowhere(
    stub: Stub, files: list[Path], segmenter: Segmenter, tmp_path: Path
) -> None:
    claim = claim_of(stub, files)
    stub.images[claim.series.uid] = [renamed(file, StudyInstanceUID="../../x") for file in files]
    out = tmp_path / "a" / "b" / "out"
    assert "StudyInstanceUID is no UID" in handler(stub, segmenter, address_of(str(out)))(claim).error
    scan = read_series(files[0].parent)
    result = segmenter(scan.volume)
    for source in scan.sources:
        source.data_element("StudyInstanceUID")._value = "../../x"
    with pytest.raises(WssegError, match="StudyInstanceUID is missing or no UID"):
        deliver(open_destination(address_of(str(out))), result, scan, segmenter.package)
    assert not (tmp_path / "a").exists()


def test_results_go_into_a_folder_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WssegError, match="is a file"):
        address_of(str(tmp_path / "file"))
