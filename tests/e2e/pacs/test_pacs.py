"""`wsseg serve --studies URL` with a real Orthanc: series in, DICOM SEG out."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
from highdicom.seg import Segmentation, segread
from live import SERVE, Server, oblique_affine, running, write_scan
from orthanc import AUTH, Orthanc, as_itk, orthanc, write_patient
from pydicom import Dataset, dcmread, dcmwrite

from conftest import small_package
from wsseg.archive.web.client import PASSWORD, USER
from wsseg.data.phantom import make_phantom
from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.images.volume import Volume
from wsseg.models.shelf import publish
from wsseg.server.serve import check_studies

LABELS = ("left", "middle", "right")
CT = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
US = {"Modality": "US", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1"}


@pytest.fixture(scope="module", autouse=True)
def credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(USER, AUTH[0])
        patch.setenv(PASSWORD, AUTH[1])
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as made:
        yield made


@pytest.fixture(scope="module")
def files(archive: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """What is sent to the archive; of "growing" only the upper slices."""
    folder = tmp_path_factory.mktemp("dicom")
    scan = make_phantom(0, size=64)[0]
    downwards = Volume(scan.voxels, scan.affine @ np.diag([1, 1, -1, 1]))
    oblique = Volume(scan.voxels, oblique_affine())
    written = {
        "axial": write_patient(folder / "axial", "Ada", as_itk(scan)),
        "downwards": write_patient(folder / "downwards", "Bo", as_itk(downwards), **CT),
        "oblique": write_patient(folder / "oblique", "Cy", as_itk(oblique)),
        "growing": write_patient(folder / "growing", "Di", as_itk(scan)),
        "ultrasound": write_patient(folder / "ultrasound", "Ed", as_itk(scan), **US),
        "gap": write_patient(folder / "gap", "Fy", as_itk(scan)),
        "away": write_patient(folder / "away", "Gil", as_itk(scan)),
    }
    for name, series in written.items():
        archive.send({"growing": series[3:], "gap": series[:2] + series[4:]}.get(name, series))
    return written


@pytest.fixture(scope="module")
def uids(files: dict[str, list[Path]]) -> dict[str, str]:
    return {name: str(dcmread(series[0]).SeriesInstanceUID) for name, series in files.items()}


@pytest.fixture(scope="module")
def server(archive: Orthanc, uids: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    small_package(home() / "models" / "trio" / "0.1", "cdm", LABELS)
    publish(home() / "models", "trio", "0.1")
    log = tmp_path_factory.mktemp("pacs") / "log"
    with running((*SERVE, "--studies", archive.url, "--models", "trio"), log) as server:
        yield server


def study_of(files: list[Path]) -> str:
    return str(dcmread(files[0]).StudyInstanceUID)


def segment(server: Server, uid: str, **params: Any) -> nib.Nifti1Image:
    """The mask of a scan."""
    reply = server.infer("trio", f"image={uid}&output=image", force=True, **params)  # one of the series is a CT
    assert reply.status == 200, reply.body
    return nib.Nifti1Image.from_bytes(gzip.decompress(reply.body))


def save(server: Server, uid: str, mask: np.ndarray, like: nib.Nifti1Image, folder: Path, names: list[str]) -> Any:
    """Send a finished mask as 3D Slicer does."""
    file = folder / "label.nii.gz"
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), like.affine), file)
    info = [{"name": name, "idx": index + 1, "color": [1, 2, 3]} for index, name in enumerate(names)]
    with file.open("rb") as content:
        return requests.put(
            f"{server.url}/datastore/label?image={uid}&tag=final",
            data={"params": json.dumps({"label_info": info})},
            files={"label": (file.name, content)},
            timeout=120,
        )


def opened(seg: Dataset) -> Segmentation:
    """As highdicom reads it from a file."""
    content = BytesIO()
    dcmwrite(content, seg, write_like_original=False)
    return segread(BytesIO(content.getvalue()))


def voxels(seg: Dataset, sources: list[Path]) -> dict[str, np.ndarray]:
    """Of each segment by name, (x, y, slice) with slices in the order of the files."""
    read = opened(seg)
    frames = read.get_pixels_by_source_instance([str(dcmread(file).SOPInstanceUID) for file in sources])
    names = [segment.SegmentLabel for segment in read.SegmentSequence]
    return {name: frames[..., k].T for k, name in enumerate(names)}


def along_files(mask: nib.Nifti1Image, sources: list[Path]) -> np.ndarray:
    """A mask's slices in the order of the files, found by where the patient is."""
    places = np.array([dcmread(file).ImagePositionPatient for file in sources], float) * [-1, -1, 1]
    to_voxel = np.linalg.inv(mask.affine)
    index = np.round(places @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(int)
    assert (index[:, :2] == 0).all()
    return np.asarray(mask.dataobj)[:, :, index[:, 2]]


def test_mr_and_ct_are_listed(server: Server, uids: dict[str, str]) -> None:
    listed = server.ask("/info/").json["datastore"]
    assert listed["total"] == len(uids) - 1
    assert listed["completed"] == 0


@pytest.mark.parametrize("task", ["trio", "scribbles", "points", "page"])
def test_another_modality_than_the_model_reads_is_refused(task: str, server: Server, uids: dict[str, str]) -> None:
    uid = uids["downwards"]
    page = f"/annotate/api/scans/{uid}/prediction?model=trio"
    reply = server.ask(page, "POST") if task == "page" else server.infer(task, f"image={uid}&output=image")
    assert reply.status == 400
    assert reply.detail.endswith(
        "Modality: the scan's is CT, trio reads MR FLAIR; it is segmented all the same with force"
    )


@pytest.mark.parametrize("name", ["axial", "downwards", "oblique"])
def test_a_mask_comes_back_voxel_by_voxel(
    name: str, server: Server, archive: Orthanc, files: dict[str, list[Path]], uids: dict[str, str]
) -> None:
    mask = segment(server, uids[name], save_label=True, label_tag="final")
    [seg] = archive.segs(study_of(files[name]))
    assert seg.SOPClassUID.name == "Segmentation Storage"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == uids[name]
    assert (seg.SeriesDescription, seg.SegmentSequence[0].SegmentAlgorithmType) == ("trio 0.1", "AUTOMATIC")
    found = voxels(seg, files[name])
    wanted = along_files(mask, files[name])
    assert wanted.any()
    assert set(found) == {LABELS[value - 1] for value in np.unique(wanted) if value}
    for label, segment_voxels in found.items():
        np.testing.assert_array_equal(segment_voxels, wanted == LABELS.index(label) + 1)
    info = server.ask("/info/").json["datastore"]
    assert info["label_tags"]["final"] == info["completed"]


def test_classes_keep_their_names_whatever_others_are_missing(
    server: Server, archive: Orthanc, files: dict[str, list[Path]], uids: dict[str, str], tmp_path: Path
) -> None:
    uid, study = uids["axial"], study_of(files["axial"])
    before = len(archive.segs(study))
    like = segment(server, uid)
    mask = np.zeros(like.shape)
    mask[5:20, 10:30, 2:5], mask[30:40, 30:35, 4] = 1, 3
    assert save(server, uid, mask, like, tmp_path, list(LABELS)).status_code == 200
    assert save(server, uid, np.zeros(like.shape), like, tmp_path, list(LABELS)).status_code == 200
    assert save(server, uid, mask == 1, like, tmp_path, ["Segment_1 ä"]).status_code == 200
    drawn, empty, named = archive.segs(study)[before:]
    found = voxels(drawn, files["axial"])
    assert list(found) == ["left", "right"]
    wanted = along_files(nib.Nifti1Image(mask, like.affine), files["axial"])
    np.testing.assert_array_equal(found["left"], wanted == 1)
    np.testing.assert_array_equal(found["right"], wanted == 3)
    assert drawn.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    kind = drawn.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", "108369006")
    colors = [tuple(s.RecommendedDisplayCIELabValue) for s in drawn.SegmentSequence]
    automatic = archive.segs(study)[0].SegmentSequence
    assert colors[0] == next(tuple(s.RecommendedDisplayCIELabValue) for s in automatic if s.SegmentLabel == "left")
    assert list(voxels(empty, files["axial"])) == list(LABELS)
    assert not any(found.any() for found in voxels(empty, files["axial"]).values())
    assert [s.SegmentLabel for s in named.SegmentSequence] == ["Segment_1 ä"]
    reply = server.ask(f"/datastore/label?label={uid}&tag=final")
    assert reply.status == 200


def test_refused(server: Server, archive: Orthanc, uids: dict[str, str], tmp_path: Path) -> None:
    assert server.infer("trio", "image=1.2.3").detail == 'image "1.2.3" is unknown'
    assert server.infer("trio", "image=nothing").status == 404
    gap = server.infer("trio", f"image={uids['gap']}")
    assert gap.status == 400
    assert "missing or unevenly spaced" in gap.detail
    other = nib.Nifti1Image(np.zeros((8, 8, 8)), np.eye(4))
    refused = save(server, uids["oblique"], np.ones((8, 8, 8)), other, tmp_path, ["left"])
    assert refused.status_code == 400
    assert "another grid" in refused.json()["detail"]
    write_scan(tmp_path / "scan.nii.gz", (8, 8, 8))
    upload = server.ask("/datastore/image?image=new", "PUT", {}, tmp_path / "scan.nii.gz")
    assert upload.status == 400
    assert "send it to the archive" in upload.detail


def test_a_series_that_grows_is_fetched_again(
    server: Server, archive: Orthanc, files: dict[str, list[Path]], uids: dict[str, str]
) -> None:
    assert segment(server, uids["growing"]).shape[2] == 5
    archive.send(files["growing"][:3])
    end = time.monotonic() + 30
    while segment(server, uids["growing"]).shape[2] == 5 and time.monotonic() < end:
        server.ask("/info/")
        time.sleep(1)
    assert segment(server, uids["growing"]).shape[2] == 8


def test_viewers_search_through_the_server(server: Server, archive: Orthanc) -> None:
    proxy = f"{server.url}/proxy/dicom"
    one = requests.get(f"{proxy}/qido/studies?PatientID=Bo", timeout=30)
    assert [study["00100020"]["Value"] for study in one.json()] == [["Bo"]]
    assert len(requests.get(f"{proxy}/qido/studies", timeout=30).json()) == 7
    assert requests.get(f"{proxy}/qido/studies/1.2.3/series/4/metadata", timeout=30).status_code == 404
    for path in ("system", "qido/%2e%2e/system"):
        assert requests.get(f"{proxy}/{path}", timeout=30).status_code == 404


def test_an_archive_that_is_down(
    server: Server, archive: Orthanc, files: dict[str, list[Path]], uids: dict[str, str], tmp_path: Path
) -> None:
    study = study_of(files["oblique"])
    before = len(archive.segs(study))
    like = segment(server, uids["oblique"])
    archive.stop()
    try:
        assert server.ask("/info/").json["datastore"]["total"] == 6
        assert segment(server, uids["oblique"]).shape == like.shape
        away = server.infer("trio", f"image={uids['away']}")
        assert away.status == 503
        assert "cannot be reached" in away.detail
        unsent = save(server, uids["oblique"], np.ones(like.shape), like, tmp_path, ["left"])
        assert unsent.status_code == 503
        assert "the mask is kept and will be sent" in unsent.json()["detail"]
        looked = requests.get(f"{server.url}/proxy/dicom/qido/studies", timeout=30)
        assert looked.status_code == 503
    finally:
        archive.start()
    end = time.monotonic() + 40
    while len(archive.segs(study)) == before and time.monotonic() < end:
        time.sleep(0.5)
    assert len(archive.segs(study)) == before + 1
    assert voxels(archive.segs(study)[-1], files["oblique"])["left"].all()
    assert segment(server, uids["away"]).shape == (64, 64, 8)


def test_a_batch_goes_through_the_archive(
    server: Server, archive: Orthanc, files: dict[str, list[Path]], uids: dict[str, str]
) -> None:
    scans = {name: uid for name, uid in uids.items() if name != "ultrasound"}
    before = {name: len(archive.segs(study_of(files[name]))) for name in scans}

    def batch(**params: Any) -> dict[str, Any]:
        reply = requests.post(f"{server.url}/batch/infer/trio?run_sync=true", json=params, timeout=120)
        assert reply.status_code == 200, reply.text
        told: dict[str, Any] = reply.json()
        return told

    told = batch(label_tag="final", force=True)
    assert set(told) == set(scans.values())
    assert [uid for uid, result in told.items() if "detail" in result] == [uids["gap"]]
    assert "missing or unevenly spaced" in told[uids["gap"]]["detail"]
    status = server.ask("/batch/infer").json
    assert (status["status"], status["details"][-1]) == ("DONE", "5 of 6 scans were segmented, 1 failed")
    for name, count in before.items():
        assert len(archive.segs(study_of(files[name]))) == count + (name != "gap")
    found = voxels(archive.segs(study_of(files["oblique"]))[-1], files["oblique"])
    wanted = along_files(segment(server, uids["oblique"]), files["oblique"])
    for label, segment_voxels in found.items():
        np.testing.assert_array_equal(segment_voxels, wanted == LABELS.index(label) + 1)
    assert list(batch(images="unlabeled")) == [uids["gap"]]
    assert "detail" not in batch(images=[uids["axial"]])[uids["axial"]]
    assert len(archive.segs(study_of(files["axial"]))) == before["axial"] + 1, "only finished masks are sent"


def test_wrong_password_is_told_before_the_server_starts(archive: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WssegError, match="status 404"):
        check_studies(archive.url.replace("dicom-web", "dicom"))
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(WssegError, match="refuses user and password, which MONAI_LABEL_DICOMWEB_USERNAME and"):
        check_studies(archive.url)
    with pytest.raises(WssegError, match="not in it"):
        check_studies("http://pacs:secret@127.0.0.1/dicom-web")
    with pytest.raises(WssegError, match="is not an address"):
        check_studies("http://")
