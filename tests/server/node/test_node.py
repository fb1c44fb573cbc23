"""A DICOM node that is sent whole series, broken objects and too much at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import pytest
from orthanc import as_itk, write_patient
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, Association
from pynetdicom.sop_class import MRImageStorage, Verification

from certificates import write_certificates
from wsseg.archive.destination import FolderDestination, open_destination
from wsseg.archive.dimse import SUCCESS, Tls
from wsseg.data.phantom import make_phantom
from wsseg.errors import WssegError
from wsseg.server.compute import Compute
from wsseg.server.node import bounded, forward, node
from wsseg.server.node.forward import Forwarder
from wsseg.server.node.inbox import WHY, Inbox
from wsseg.server.node.node import NOT_UNDERSTOOD, Node
from wsseg.server.node.rules import Rules
from wsseg.server.node.settings import NodeSettings

SECONDS = 60.0


@pytest.fixture
def series(tmp_path: Path) -> list[Dataset]:
    files = write_patient(tmp_path / "series", "Ada", as_itk(make_phantom(0, size=32)[0]), SeriesDescription="AX FLAIR")
    images = [dcmread(file) for file in files]
    for image in images:
        image.is_implicit_VR, image.is_little_endian = False, True
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return images


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "dicom", quiet=0.0)


@pytest.fixture
def station(inbox: Inbox) -> Iterator[Node]:
    made = Node(NodeSettings(port=free_port(), callers="MODALITY, PACS"), inbox)
    yield made
    made.stop()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def associate(station: Node, title: str = "MODALITY", called: str = "WSSEG", tls: Tls | None = None) -> Association:
    entity = AE(title)
    entity.acse_timeout = SECONDS
    entity.add_requested_context(Verification)
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    secured = None if tls is None else (tls.calling(), "127.0.0.1")
    return entity.associate("127.0.0.1", station.port, ae_title=called, tls_args=secured)


def send(station: Node, images: list[Dataset]) -> list[int]:
    """The answers; of an association that was ended none."""
    with_node = associate(station)
    assert with_node.is_established
    answers = [with_node.send_c_store(image).get("Status", -1) for image in images]
    with_node.release()
    return answers


def test_only_listed_callers_get_in(station: Node) -> None:
    allowed = associate(station)
    assert allowed.send_c_echo().Status == SUCCESS
    allowed.release()
    assert associate(station, "STRANGER").is_rejected
    assert associate(station, called="ANOTHER").is_rejected


def test_what_is_acknowledged_is_on_disk_and_nothing_else(station: Node, inbox: Inbox, series: list[Dataset]) -> None:
    path, nameless = deepcopy(series[0]), deepcopy(series[1])
    path.SeriesInstanceUID = "../../etc"
    del nameless.SeriesInstanceUID
    assert send(station, series) == [SUCCESS] * len(series)
    assert send(station, [series[0]]) == [SUCCESS], "the same image again"
    (folder,) = inbox.whole()
    assert len(list(folder.iterdir())) == len(series)
    assert send(station, [path, nameless]) == [NOT_UNDERSTOOD] * 2
    assert inbox.whole() == [folder]


def test_fifty_associations_at_once_and_broken_ones_among_them(
    station: Node, inbox: Inbox, series: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "LARGEST", 20_000)

    def copy(number: int) -> Dataset:
        made = deepcopy(series[0])
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        made.SeriesInstanceUID = f"1.2.4.{number}"
        if number % 5 == 1:
            made.StudyInstanceUID = "no UID"
        if number % 5 == 2:
            made.PixelData = bytes(200_000)
        return made

    def one(number: int) -> bool:
        if number % 5 == 3:
            with socket.create_connection(("127.0.0.1", station.port)) as noise:
                noise.sendall(b"\x04\x00\x00\x00\x00\x10" + bytes(range(16)))
            return False
        return send(station, [copy(number)]) == [SUCCESS]

    with ThreadPoolExecutor(50) as pool:
        taken = list(pool.map(one, range(50)))
    assert [number for number in range(50) if taken[number]] == [n for n in range(50) if n % 5 in (0, 4)]
    assert {folder.name for folder in inbox.whole()} == {f"1.2.4.{n}" for n in range(50) if taken[n]}
    assert send(station, [copy(100)]) == [SUCCESS], "the node is up"


@pytest.mark.parametrize("kind", [1, 4])
@pytest.mark.parametrize("length", [bounded.LONGEST + 1, 0xFFFFFFFF])
def test_a_message_that_announces_gigabytes_is_not_read(station: Node, kind: int, length: int) -> None:
    with socket.create_connection(("127.0.0.1", station.port)) as caller:
        caller.settimeout(SECONDS / 4)
        caller.sendall(bytes([kind, 0]) + length.to_bytes(4, "big"))
        assert hung_up(caller)
    assert send(station, []) == [], "the node is up"


def test_a_message_that_trickles_is_waited_for_once(station: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "SECONDS", 1.0)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", station.port)) as caller:
        caller.settimeout(0.2)
        caller.sendall(b"\x01\x00\x00\x00\x10\x00")
        while not hung_up(caller) and time.monotonic() - began < SECONDS / 4:
            caller.send(b"\x00")  # each byte well within the time that one may take
    assert time.monotonic() - began < SECONDS / 4
    assert send(station, []) == [], "the node is up"


def hung_up(caller: socket.socket) -> bool:
    """Whether the other side closes within the caller's patience."""
    try:
        return caller.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_callers_of_another_authority_and_silent_ones_keep_nobody_out(inbox: Inbox, tmp_path: Path) -> None:
    ours, theirs = (write_certificates(tmp_path / name) for name in ("ours", "theirs"))
    made = Node(NodeSettings(port=free_port(), callers="MODALITY", **asdict(ours)), inbox)
    try:
        with socket.create_connection(("127.0.0.1", made.port)):  # never begins its handshake
            allowed = associate(made, tls=ours)
            assert allowed.send_c_echo().Status == SUCCESS
            allowed.release()
            assert not associate(made, tls=theirs).is_established
            assert not associate(made).is_established
            again = associate(made, tls=ours)
            assert again.is_established, "the node is up"
            again.release()
    finally:
        made.stop()


@pytest.fixture
def rules(tmp_path: Path, published: str) -> Rules:
    file = tmp_path / "rules.csv"
    file.write_text(f"modality,description,model\nCT,,another\nMR,flair,{published}\n", encoding="utf-8")
    return Rules.read(file)


def test_a_series_is_segmented_by_rule_and_sent_on(
    inbox: Inbox, series: list[Dataset], rules: Rules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "PAUSES", (0.05, 0.1))
    for image in series:
        inbox.take(image)
    unknown = deepcopy(series[0])
    unknown.SOPInstanceUID, unknown.SeriesInstanceUID, unknown.SeriesDescription = "1.2.3", "1.2.4", "T1"
    inbox.take(unknown)
    out = tmp_path / "out"
    forwarder = Forwarder(inbox, rules, Compute(), open_destination(out.as_uri()))
    end = time.monotonic() + SECONDS
    while inbox.whole() and time.monotonic() < end:
        time.sleep(0.05)
    forwarder.stop()
    seg, sr = sorted(map(dcmread, out.rglob("*.dcm")), key=lambda result: str(result.Modality))
    assert (seg.Modality, sr.Modality) == ("SEG", "SR")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == series[0].SeriesInstanceUID
    assert seg.StudyInstanceUID == series[0].StudyInstanceUID
    assert (tmp_path / "dicom" / "failed" / "1.2.4" / WHY).read_text(
        "utf-8"
    ) == "no rule names a model for such a series"


def test_a_destination_that_is_away_is_waited_for(
    inbox: Inbox, series: list[Dataset], rules: Rules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "PAUSES", (0.05, 0.1))
    away = [True]
    place = FolderDestination(tmp_path / "out")

    class Away(FolderDestination):
        """Does not answer at first."""

        def store(self, *arguments: object) -> None:
            if away[0]:
                raise forward.UnavailableError("away")
            place.store(*arguments)  # type: ignore[arg-type]

    for image in series:
        inbox.take(image)
    forwarder = Forwarder(inbox, rules, Compute(), Away(tmp_path / "out"))
    time.sleep(1.0)
    assert inbox.whole()
    away[0] = False
    end = time.monotonic() + SECONDS
    while inbox.whole() and time.monotonic() < end:
        time.sleep(0.05)
    forwarder.stop()
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 2


def test_rules_that_cannot_be_meant(tmp_path: Path) -> None:
    file = tmp_path / "rules.csv"
    for text, sentence in {
        "modality\nMR\n": "column model is missing",
        "model,bodypart\na,b\n": "must have the column model, and of",
        "model\n": "holds no rule",
        "modality,model\nMR,\n": "line 2: model is empty",
        "modality,model\n(,a\n": "line 2: is no regular expression",
    }.items():
        file.write_text(text, encoding="utf-8")
        with pytest.raises(WssegError, match=sentence):
            Rules.read(file)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"rules": "r", "to": "d"}, "--dicom-callers: is needed"),
        ({"callers": "A", "to": "d"}, "--dicom-rules: is needed"),
        ({"callers": "A", "rules": "r"}, "--dicom-to: is needed"),
        ({"callers": "A" * 17, "rules": "r", "to": "d"}, "1 to 16 ASCII"),
    ],
)
def test_a_node_that_is_open_or_knows_not_what_to_do_is_refused(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(WssegError, match=sentence):
        NodeSettings(port=11112, **given).check()
