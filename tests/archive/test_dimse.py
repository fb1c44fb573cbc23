"""Results on their way to a DICOM node: Orthanc's own, and nodes that will not have them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from orthanc import AUTH, Orthanc, orthanc
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import SegmentationStorage, Verification
from stub import series_files

from certificates import write_certificates
from conftest import MakePackage
from wsseg.archive.destination import address_of, deliver, open_destination
from wsseg.archive.dimse import PREFIX, NodeDestination, Tls
from wsseg.archive.web.client import PASSWORD, USER
from wsseg.archive.web.replies import RefusedError
from wsseg.errors import UnavailableError, WssegError
from wsseg.images.dicom.seg import Identity
from wsseg.images.dicom.series import read_series
from wsseg.inference.segmenter import Segmenter

__all__ = ["series_files"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(params=[False, True], ids=["in the clear", "TLS"])
def tls(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tls | None:
    """As the environment says."""
    if not request.param:
        return None
    made = write_certificates(tmp_path / "certificates")
    for name, file in asdict(made).items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", file)
    return made


@pytest.mark.e2e
def test_orthanc_has_what_it_acknowledged_and_has_it_once(
    files: list[Path], tls: Tls | None, make_package: MakePackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER, AUTH[0])
    monkeypatch.setenv(PASSWORD, AUTH[1])
    scan, segmenter, port = read_series(files[0].parent), Segmenter(make_package().folder), free_port()
    options: dict[str, object] = {"DicomServerEnabled": True, "DicomAet": "ORTHANC", "DicomPort": port}
    if tls:
        options |= {"DicomTlsEnabled": True, "DicomTlsRemoteCertificateRequired": True}
        options |= {
            "DicomTlsCertificate": tls.cert,
            "DicomTlsPrivateKey": tls.key,
            "DicomTlsTrustedCertificates": tls.ca,
        }
    with _running(tmp_path / "orthanc", options) as archive:
        destination = open_destination(address_of(f"ORTHANC@127.0.0.1:{port}"))
        destination.check()
        result = segmenter(scan.volume)
        for _ in range(2):
            deliver(destination, result, scan, segmenter.package)
        there = archive.series(StudyInstanceUID=str(scan.sources[0].StudyInstanceUID))
    assert sorted(series.Modality for series in there) == ["SEG", "SR"]


@contextmanager
def _running(folder: Path, options: dict[str, object]) -> Iterator[Orthanc]:
    folder.mkdir()
    with orthanc(folder, **options) as archive:
        yield archive


@contextmanager
def node(status: int = 0, tls: Tls | None = None, callers: tuple[str, ...] = ()) -> Iterator[NodeDestination]:
    """A node that answers every C-STORE of a SEG with a status."""
    entity, port = AE("PACS"), free_port()
    entity.require_calling_aet = list(callers)
    entity.add_supported_context(Verification)
    entity.add_supported_context(SegmentationStorage)
    handlers = [(evt.EVT_C_STORE, lambda event: status)]
    context = tls and tls.called()
    server = entity.start_server(("127.0.0.1", port), block=False, ssl_context=context, evt_handlers=handlers)
    yield NodeDestination(f"PACS@127.0.0.1:{port}")
    server.shutdown()


@pytest.fixture
def seg(files: list[Path], make_package: MakePackage, tmp_path: Path) -> Path:
    scan, segmenter = read_series(files[0].parent), Segmenter(make_package().folder)
    deliver(open_destination((tmp_path / "out").as_uri()), segmenter(scan.volume), scan, segmenter.package)
    return next(file for file in (tmp_path / "out").rglob("*.dcm") if dcmread(file).Modality == "SEG")


def test_a_node_says_why_not(seg: Path, files: list[Path]) -> None:
    identity = Identity.new()
    for status, passing in ((0xA700, True), (0xC000, False)):
        with node(status) as destination, pytest.raises(UnavailableError, match=f"status {status:04X}") as told:
            destination.store(seg, "1.2", identity)
        assert isinstance(told.value, RefusedError) != passing
    with node(0xB000) as destination:
        destination.store(seg, "1.2", identity)
    with node() as destination, pytest.raises(RefusedError, match="takes no such objects"):
        destination.store(files[0], "1.2", identity)
    with node(callers=("MR1",)) as destination, pytest.raises(RefusedError, match="rejects WSSEG"):
        destination.check()
    with pytest.raises(UnavailableError, match="cannot be reached"):
        NodeDestination(f"PACS@127.0.0.1:{free_port()}").check()


def test_a_node_of_another_authority_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (write_certificates(tmp_path / name) for name in ("ours", "theirs"))
    for name, file in asdict(ours).items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", file)
    with node(tls=ours) as destination:
        destination.check()
    with node(tls=theirs) as destination, pytest.raises(UnavailableError):
        destination.check()
    with node() as destination, pytest.raises(UnavailableError):
        destination.check()
    monkeypatch.delenv(f"{PREFIX}CA")
    with pytest.raises(WssegError, match="needs all three"):
        NodeDestination("PACS@127.0.0.1:104")


@pytest.mark.parametrize("place", ["a/B@c:1", "PACS@host", "PACS@host:x", "@host:1", "out"])
def test_what_is_no_node_is_a_folder(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert address_of(place).startswith("file://")
