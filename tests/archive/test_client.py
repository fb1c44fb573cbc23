"""The client of an archive: pages, odd answers, broken connections, hostile names."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from unittest.mock import patch

import pytest
import requests
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian
from stub import Stub, archive_stub, entry, renamed, series_files

from full_disk import largest_file
from wsseg.archive.web import client, replies
from wsseg.archive.web.client import PASSWORD, USER, Pacs
from wsseg.archive.web.replies import RefusedError, parts
from wsseg.archive.web.series import Series
from wsseg.errors import FullError, UnavailableError, WssegError
from wsseg.images.dicom.uids import is_uid

__all__ = ["archive_stub", "series_files"]  # fixtures


@pytest.mark.parametrize("paged", [True, False])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20])
def test_all_pages_are_read(stub: Stub, monkeypatch: pytest.MonkeyPatch, count: int, paged: bool) -> None:
    monkeypatch.setattr(client, "PAGE", 10)
    stub.paged = paged
    stub.series = [entry(f"1.2.{index}") for index in range(count)]
    assert [series.uid for series in Pacs(stub.url).series({})] == [f"1.2.{index}" for index in range(count)]


HOSTILE = [
    *("../../x", "..", "1..2", "1.2/3", "1.2\\3", ".1", "1.", "", "1." * 40 + "1", "1" * 300),
    *("1.2%2f..%2f3", "1.2'3", '1.2"3', "1.é", "\N{FULLWIDTH DIGIT ONE}.2", "1.2;ls"),
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_series_whose_uid_is_a_path_are_no_series(stub: Stub, hostile: str) -> None:
    stub.series = [entry("1.2.3"), entry(hostile), entry("1.2.4", study=hostile)]
    assert [series.uid for series in Pacs(stub.url).series({})] == ["1.2.3"]
    assert not is_uid(hostile)


def test_what_is_said_of_a_series_in_any_script(stub: Stub) -> None:
    stub.series = [
        entry(
            "1.2.3",
            PatientName={"Ideographic": "山田^太郎"},
            StudyDate="20240131",
            SeriesDescription="T1\naxial",
            NumberOfSeriesRelatedInstances="5",
        ),
        entry("1.2.4", PatientName={"Alphabetic": "Müller^Jürgen^^Dr."}, PatientID="7"),
        entry("1.2.5", PatientID="7", StudyDate="long ago", NumberOfSeriesRelatedInstances="many"),
        entry("1.2.6", PatientName=5.5, SeriesDescription=None, StudyDate={}),
    ]
    found = Pacs(stub.url).series({})
    shorts = [series.title.rpartition(" · ")[2] for series in found]
    assert len(set(shorts)) == 4
    assert [series.title.removesuffix(short) for series, short in zip(found, shorts, strict=True)] == [
        "山田 太郎 · 2024-01-31 · T1 axial · ",
        "Müller Jürgen Dr. · MR · ",
        "7 · long ago · MR · ",
        "MR · ",
    ]
    assert [series.images for series in found] == [5, 0, 0, 0]


def test_images_are_named_by_us(stub: Stub, files: list[Path], tmp_path: Path) -> None:
    uid = stub.add(files)
    out = tmp_path / "out"
    out.mkdir()
    series = Pacs(stub.url).find(uid)
    assert series is not None
    Pacs(stub.url).fetch(series, out)
    assert sorted(path.name for path in out.iterdir()) == [f"{number:06d}.dcm" for number in range(1, 7)]
    assert dcmread(out / "000001.dcm").SOPInstanceUID == dcmread(files[0]).SOPInstanceUID


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("name", ["SOPInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("hostile", ["../../x", "/tmp/x", "..", "a" * 300])
def test_an_image_whose_uid_is_a_path_is_refused(
    stub: Stub, files: list[Path], tmp_path: Path, name: str, hostile: str
) -> None:
    uid = stub.add(files)
    stub.images[uid][2] = renamed(files[2], **{name: hostile})
    out = tmp_path / "a" / "b" / "out"
    out.mkdir(parents=True)
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(out)}
    with pytest.raises(RefusedError, match=f"{name} is no UID"):
        Pacs(stub.url).fetch(Series(uid, "1.2", 6, {}), out)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(out)} == before


def test_an_image_that_is_sent_twice_is_there_once(stub: Stub, files: list[Path], tmp_path: Path) -> None:
    uid = stub.add(files)
    stub.images[uid].append(stub.images[uid][0])
    Pacs(stub.url).fetch(Series(uid, "1.2", 6, {}), tmp_path)
    assert len(list(tmp_path.glob("0*.dcm"))) == 6


def test_a_list_of_images_that_breaks_off_is_asked_for_again(stub: Stub, files: list[Path], tmp_path: Path) -> None:
    uid = stub.add(files)
    stub.cut = 2
    Pacs(stub.url).fetch(Series(uid, "1.2", 6, {}), tmp_path)
    assert len(list(tmp_path.glob("0*.dcm"))) == 6
    stub.cut = 99
    with pytest.raises(UnavailableError):
        Pacs(stub.url).fetch(Series(uid, "1.2", 6, {}), tmp_path)


def test_fewer_images_than_the_archive_says(stub: Stub, files: list[Path], tmp_path: Path) -> None:
    uid = stub.add(files[:4])
    with pytest.raises(UnavailableError, match="the connection broke"):
        Pacs(stub.url).fetch(Series(uid, "1.2", 6, {}), tmp_path)


@pytest.mark.parametrize(("status", "tries"), [(503, 3), (429, 3), (500, 3), (404, 1), (400, 1), (401, 1)])
def test_only_what_may_pass_is_tried_again(stub: Stub, status: int, tries: int) -> None:
    stub.failing = [status] * 10
    with pytest.raises(UnavailableError) as failed:
        Pacs(stub.url).series({})
    assert len(stub.asked) == tries
    assert isinstance(failed.value, RefusedError) == (tries == 1)
    stub.failing = [status] * (tries - 1)
    assert Pacs(stub.url).series({}) == []


def test_a_result_is_sent_again_too(stub: Stub, files: list[Path]) -> None:
    stub.failing = [503, 503]
    Pacs(stub.url).store(files[0])
    assert [sent.SOPInstanceUID for sent in stub.stored] == [dcmread(files[0]).SOPInstanceUID]


def test_an_archive_that_is_slow(stub: Stub) -> None:
    stub.seconds = 1.0
    with pytest.raises(UnavailableError, match="does not answer in time"):
        Pacs(stub.url).find("1.2.3")


def test_passwords_are_sent_in_utf_8(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER, "müller")
    monkeypatch.setenv(PASSWORD, "пароль€")
    Pacs(stub.url).check()
    assert stub.asked[0][1] == f"Basic {b64encode('müller:пароль€'.encode()).decode()}"


IMAGE = b"\r\n--edge\r\ncontent-type: application/dicom\r\n\r\n" + b"x" * 10_000
"""The beginning of an image that never comes to its end, where nothing follows but more of it."""


@pytest.mark.parametrize("piece", [b" " * 100_000, b'{"00080060": {}}, ' * 5000])
def test_a_list_without_end_is_not_read_for_ever(stub: Stub, monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    monkeypatch.setattr(replies, "LONGEST_LIST", 3 << 20)
    stub.endless = piece, 0.0
    with pytest.raises(RefusedError, match="series: answers with more than 3 MB"):
        Pacs(stub.url).series({})


@pytest.mark.parametrize("piece", [IMAGE, b"x" * 100_000])
def test_images_without_end_are_not_kept(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setenv("WSSEG_MAX_SCAN_GB", str(1 / 1024))
    stub.endless = piece, 0.0
    with pytest.raises(WssegError, match=r"answers with more than 2 MB|is not a whole DICOM file"):
        Pacs(stub.url).fetch(Series("1.2.3", "1.2", 6, {}), tmp_path)


def test_an_answer_that_drips_ends(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "GRACE", 0.1)
    stub.endless = b" ", 0.06
    with pytest.raises(UnavailableError, match="does not answer in time"):
        Pacs(stub.url).find("1.2.3")
    with pytest.raises(UnavailableError, match="does not answer in time"):
        Pacs(stub.url).fetch(Series("1.2.3", "1.2", 6, {}), tmp_path)


def test_pages_without_end_are_too_many(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAGE", 10)
    monkeypatch.setattr(client, "MOST_SERIES", 25)
    stub.series = [entry(f"1.2.{index}") for index in range(60)]
    with pytest.raises(RefusedError, match="lists more than 25 series, ask for fewer by filters"):
        Pacs(stub.url).series({})
    assert len(stub.asked) == 3


def test_a_deflated_image_is_not_unpacked_to_whatever_it_holds(
    stub: Stub, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = stub.add(files)
    image = dcmread(files[0])
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.add_new(0x00431001, "UN", bytes(32 << 20))
    image.save_as(tmp_path / "bomb")
    stub.images[uid][0] = (tmp_path / "bomb").read_bytes()
    assert len(stub.images[uid][0]) < 100_000
    monkeypatch.setenv("WSSEG_MAX_SCAN_GB", str(1 / 64))
    with pytest.raises(WssegError, match=r"000001\.dcm: holds .* at most 0.015625 GiB"):
        Pacs(stub.url).fetch(Series(uid, "1.2", 6, {}), tmp_path)


@pytest.mark.parametrize("end", [b"\r\n--edge--\r\nafterwards", b"\r\n--edge--", b""])
@pytest.mark.parametrize("start", [b"", b"\r\n", b"before\r\n"])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_parts_are_told_apart_wherever_pieces_end(start: bytes, end: bytes, piece: int) -> None:
    head = b"--edge\r\ncontent-type: application/dicom\r\n\r\n"
    body = start + head + b"one\r\n--edg\r\n" + b"\r\n" + head + b"\r\n\r\ntwo" + end
    reply = requests.Response()
    reply.headers["content-type"] = 'multipart/related; type="application/dicom"; boundary="edge"'
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)]
    with patch.object(reply, "iter_content", return_value=iter(pieces)):
        assert list(parts(reply)) == [b"one\r\n--edg\r\n", b"\r\n\r\ntwo"]


def test_a_disk_that_is_full_is_no_fault_of_the_archive(
    stub: Stub, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = stub.add(files)
    with largest_file(100), pytest.raises(FullError, match="cannot be written"):
        Pacs(stub.url).fetch(Series(uid, "1.2", 6, {}), tmp_path)


def test_wildcards_are_asked_for_as_they_are(stub: Stub) -> None:
    """Orthanc takes an escaped one for a letter, and lists nothing."""
    Pacs(stub.url).series({"PatientID": "P0?1*"})
    assert "PatientID=P0?1*" in stub.asked[0][0]
