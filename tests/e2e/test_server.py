"""The server as its clients meet it."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import requests
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from live import PLAIN, SERVE, Server, oblique_affine, running, write_scan, write_series
from monailabel.client import MONAILabelClient

from wsseg.images.scan import read_scan
from wsseg.inference.segmenter import Segmenter
from wsseg.models.shelf import bundled

SLICES = 10


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound scans, and damaged ones as hospitals have them."""
    folder = tmp_path_factory.mktemp("studies")
    write_scan(folder / "plain.nii.gz", (40, 44, SLICES))
    write_scan(folder / "oblique.nii.gz", (40, 44, SLICES), oblique_affine(), seed=1)
    write_scan(folder / "large.nii.gz", (256, 256, 24), seed=2)
    sitk.WriteImage(sitk.ReadImage(str(folder / "oblique.nii.gz")), str(folder / "nrrd.nrrd"))
    write_scan(folder / "time.nii.gz", (20, 20, 6, 3))
    whole = (folder / "plain.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "short.nii.gz").write_bytes(gzip.compress(gzip.decompress(whole)[:5000]))
    (folder / "text.nii.gz").write_text("not an image", encoding="utf-8")
    (folder / "zero.nii.gz").touch()
    nib.save(nib.Nifti1Image(np.full((20, 20, 6), 7, np.uint8), np.eye(4)), folder / "constant.nii.gz")
    nib.save(nib.Nifti1Image(np.full((20, 20, 6), np.nan, np.float32), np.eye(4)), folder / "nan.nii.gz")
    return folder


@pytest.fixture(scope="module")
def server(studies: Path, published: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("server") / "log"
    with running((*SERVE, "--studies", str(studies), "--models", published), log) as server:
        yield server


@pytest.fixture
def client(server: Server, tmp_path: Path) -> MONAILabelClient:
    return MONAILabelClient(server.url, tmpdir=str(tmp_path))


def same_grid(mask: sitk.Image, scan: sitk.Image) -> bool:
    places = ("GetSpacing", "GetOrigin", "GetDirection")
    close = (np.allclose(getattr(mask, get)(), getattr(scan, get)(), atol=1e-5) for get in places)
    return mask.GetSize() == scan.GetSize() and all(close)


def test_info_is_what_viewers_can_show(client: MONAILabelClient, published: str) -> None:
    info = client.info()
    assert list(info["models"]) == [published, "scribbles", "points"]
    model = info["models"][published]
    assert model["type"] == "segmentation"
    assert model["labels"] == {"tumor": 1}
    assert model["dimension"] == 3
    assert model["config"]["device"][-1] == "cpu"
    assert info["labels"] == ["tumor"]
    assert list(info["strategies"]) == ["informative", "uncertainty", "disagreement", "diversity", "random", "first"]


@pytest.mark.parametrize("extension", [".nrrd", ".nii.gz", ".nii", "nrrd"])
@pytest.mark.parametrize("image", ["plain", "oblique"])
def test_mask_comes_on_the_scans_own_grid(
    client: MONAILabelClient, published: str, studies: Path, image: str, extension: str
) -> None:
    file, params = client.infer(published, image, {"result_extension": extension, "presence": [1] * SLICES})
    assert file.endswith(extension)
    mask = sitk.ReadImage(file)
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert same_grid(mask, sitk.ReadImage(str(studies / f"{image}.nii.gz")))
    assert set(np.unique(sitk.GetArrayViewFromImage(mask))) == {0, 1}
    assert params["label_names"] == {"tumor": 1}
    assert params["presence"] == {"tumor": [1.0] * SLICES}
    assert params["latencies"]["total"] > 0


def test_server_and_library_give_the_same_mask(client: MONAILabelClient, published: str, studies: Path) -> None:
    scan = read_scan(studies / "oblique.nii.gz")
    expected = Segmenter(published, "cpu")(scan)
    file, params = client.infer(published, "oblique", {"result_extension": ".nii.gz", "device": ["cpu"]})
    mask = nib.load(file)
    assert np.array_equal(np.asarray(mask.dataobj), expected.mask.voxels)
    assert np.array_equal(mask.affine, scan.affine)
    assert np.allclose(params["presence"]["tumor"], expected.presence[0], atol=1e-3)
    assert params["predicted_dice"] == expected.facts()["predicted_dice"]
    assert len(params["uncertain_ml"]) == scan.voxels.shape[2]
    assert "uncertainty_nifti" not in params


def test_doubt_per_voxel_comes_where_it_is_asked_for(client: MONAILabelClient, published: str, studies: Path) -> None:
    expected = Segmenter(published, "cpu")(read_scan(studies / "oblique.nii.gz")).uncertainty
    asked = {"result_extension": ".nii.gz", "device": ["cpu"], "uncertainty": True}
    _, params = client.infer(published, "oblique", asked)
    doubt = nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(params["uncertainty_nifti"])))
    assert np.array_equal(np.asarray(doubt.dataobj), expected.voxels)
    assert np.array_equal(doubt.affine, expected.affine)


def test_nrrd_studies_work(client: MONAILabelClient, published: str, studies: Path) -> None:
    file, _ = client.infer(published, "nrrd", {"result_extension": ".nrrd"})
    assert same_grid(sitk.ReadImage(file), sitk.ReadImage(str(studies / "nrrd.nrrd")))


def test_absent_everywhere_is_an_empty_mask(client: MONAILabelClient, published: str) -> None:
    given = {"tumor": [0] * (SLICES - 1) + [None]}
    file, params = client.infer(published, "plain", {"presence": given})
    assert params["presence"]["tumor"][:-1] == [0.0] * (SLICES - 1)
    assert not np.asarray(nib.load(file).dataobj)[..., :-1].any()


def test_ohif_gets_raw_voxels(server: Server, published: str, studies: Path) -> None:
    """Its parser takes what follows the header's empty line as the voxels."""
    query = "image=oblique&output=image"
    params: dict[str, Any] = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
    reply = server.infer(published, query, presence=[1] * SLICES, **params)
    header, voxels = reply.body.split(b"\n\n", 1)
    assert b"encoding: raw" in header
    file = studies / "oblique.nii.gz"
    expected = Segmenter(published, "cpu")(read_scan(file), np.ones((1, SLICES), np.int8)).mask.voxels
    assert np.array_equal(np.frombuffer(voxels, np.uint8), expected.ravel(order="F"))


def test_json_alone(server: Server, published: str) -> None:
    params = server.infer(published, "image=plain&output=json").json
    assert len(params["presence"]["tumor"]) == SLICES


def test_upload_is_segmented_under_its_own_name(server: Server, published: str, tmp_path: Path) -> None:
    write_scan(tmp_path / "mine.nii.gz", (30, 30, 4))
    reply = server.ask(f"/infer/{published}?output=json", "POST", {"params": "{}"}, tmp_path / "mine.nii.gz")
    assert len(reply.json["presence"]["tumor"]) == 4
    (tmp_path / "broken.nii.gz").write_text("no", encoding="utf-8")
    reply = server.ask(f"/infer/{published}", "POST", {}, tmp_path / "broken.nii.gz")
    assert reply.status == 400
    assert reply.detail.startswith("broken.nii.gz: ")


def test_session(client: MONAILabelClient, server: Server, published: str, studies: Path) -> None:
    session = client.create_session(str(studies / "oblique.nii.gz"))["session_id"]
    file, _ = client.infer(published, "", {"result_extension": ".nrrd"}, session_id=session)
    assert same_grid(sitk.ReadImage(file), sitk.ReadImage(str(studies / "oblique.nii.gz")))
    client.remove_session(session)
    assert server.infer(published, f"session_id={session}").status == 404


def test_dicom_files_in_a_session_give_nrrd_and_seg(
    server: Server, published: str, studies: Path, tmp_path: Path
) -> None:
    scan = sitk.ReadImage(str(studies / "plain.nii.gz"))
    write_series(tmp_path, scan)
    files = [("files", (file.name, file.read_bytes())) for file in tmp_path.iterdir()]
    session = requests.put(f"{server.url}/session/", files=files).json()["session_id"]
    reply = server.infer(published, f"session_id={session}&output=image", result_extension=".nrrd")
    (tmp_path / "mask.nrrd").write_bytes(reply.body)
    assert same_grid(sitk.ReadImage(str(tmp_path / "mask.nrrd")), scan)
    reply = server.infer(published, f"session_id={session}&output=dicom_seg", presence=[1] * SLICES)
    (tmp_path / "mask.dcm").write_bytes(reply.body)
    seg = pydicom.dcmread(tmp_path / "mask.dcm")
    assert seg.Modality == "SEG"
    assert seg.SegmentSequence[0].SegmentLabel == "tumor"
    assert seg.NumberOfFrames == SLICES


@pytest.mark.parametrize("image", ["time", "cut", "short", "text", "zero", "constant", "nan"])
def test_damaged_scan_is_refused_with_a_sentence(server: Server, published: str, image: str) -> None:
    reply = server.infer(published, f"image={image}")
    assert reply.status == 400
    assert reply.detail.startswith(f"{image}: ")
    assert server.infer(published, "image=plain&output=json").status == 200


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ("{bad", "params: is not JSON"),
        ("[1]", "params: must be a JSON object"),
        ('{"presence": [1, 0]}', "tumor is given for 2 slices, the scan has 10"),
        ('{"presence": {"brain": [1]}}', '"brain" is unknown'),
        ('{"presence": {"tumor": [2,0,0,0,0,0,0,0,0,0]}}', "1, 0 or null on every slice, not 2"),
        ('{"presence": "yes"}', "presence: must be"),
        ('{"presence": {"tumor": 1}}', "tumor must be a list"),
        ('{"device": "cuda:99"}', '"cuda:99" is not there'),
        ('{"label_tag": "../../out", "save_label": true}', "label_tag"),
        ('{"result_extension": ".png"}', '".png": holds one slice'),
        ('{"image": "/etc/passwd", "model": "other", "presence": []}', "given for 0 slices"),
    ],
)
def test_wrong_fields_are_refused_with_a_sentence(server: Server, published: str, params: str, part: str) -> None:
    reply = server.ask(f"/infer/{published}?image=plain", "POST", {"params": params})
    assert reply.status == 400
    assert part in reply.detail


def test_upload_to_the_studies(server: Server, studies: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "new.nii.gz", (30, 30, 4))
    assert server.ask("/datastore/image?image=added", "PUT", {"params": "{}"}, tmp_path / "new.nii.gz").status == 200
    assert (studies / "added.nii.gz").read_bytes() == (tmp_path / "new.nii.gz").read_bytes()
    assert server.ask("/datastore/image/info?image=added").json["name"] == "added.nii.gz"
    assert server.ask("/datastore/image?id=added", "DELETE").status == 200
    (tmp_path / "broken.nii.gz").write_text("no", encoding="utf-8")
    reply = server.ask("/datastore/?image=broken", "PUT", {}, tmp_path / "broken.nii.gz")
    assert reply.status == 400
    assert reply.detail.startswith("broken.nii.gz: ")
    assert server.ask("/datastore/?image=..%2Fout", "PUT", {}, tmp_path / "new.nii.gz").status == 404
    assert not (studies / "broken.nii.gz").exists()
    assert not (studies.parent / "out.nii.gz").exists()


def test_pages_of_a_name_made_to_mean_this_machine_read_nothing(server: Server) -> None:
    for host, status in ((f"evil.example:{server.port}", 400), (f"localhost:{server.port}", 200)):
        reply = requests.get(f"{server.url}/info/", headers={"host": host}, timeout=60)
        assert reply.status_code == status
    assert requests.get(f"{server.url}/ohif/", headers={"host": "evil.example"}, timeout=60).status_code == 400


def test_mask_is_stored_if_asked(client: MONAILabelClient, server: Server, published: str, studies: Path) -> None:
    client.infer(published, "plain", {"save_label": True, "label_tag": "first", "result_extension": ".nii.gz"})
    stored = studies / "labels" / "first" / "plain.nii.gz"
    assert nib.load(stored).shape == (40, 44, SLICES)
    assert server.ask("/datastore/label/info?label=plain&tag=first").json["model"] == published


def test_eight_at_once_get_the_same_mask(client: MONAILabelClient, server: Server, published: str) -> None:
    def mask(_: int) -> bytes:
        return server.infer(published, "image=oblique&output=image", result_extension=".nii").body

    with ThreadPoolExecutor(8) as pool:
        masks = set(pool.map(mask, range(8)))
    assert len(masks) == 1
    assert nib.Nifti1Image.from_bytes(masks.pop()).shape == (40, 44, SLICES)


@pytest.mark.alone
def test_info_answers_while_scans_are_segmented(server: Server, published: str) -> None:
    """The 99th percentile of GET /info/ stays under 0.2 s."""
    with ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(server.infer, published, "image=large&output=json") for _ in range(8)]
        waits = []
        while not all(job.done() for job in busy) or len(waits) < 200:
            begin = time.perf_counter()
            server.ask("/info/")
            waits.append(time.perf_counter() - begin)
            time.sleep(0.01)
    assert {job.result().status for job in busy} == {200}
    computed = sum(job.result().json["latencies"]["infer"] for job in busy)
    assert computed > 1, "too little work to show anything"
    assert np.percentile(waits, 99) < 0.2, f"median {np.median(waits):.3f} s, worst {max(waits):.3f} s"


def test_plain_start_server_segments(published: str, studies: Path, tmp_path: Path) -> None:
    """Without `wsseg serve`: MONAI Label's own command and the app folder alone."""
    app = shutil.copytree(bundled("apps/wsseg"), tmp_path / "app")
    own = tmp_path / "studies"
    own.mkdir()
    shutil.copy(studies / "oblique.nii.gz", own)
    command = (*PLAIN, "--app", str(app), "--studies", str(own), "--conf", "models", published)
    with running(command, tmp_path / "log") as server:
        client = MONAILabelClient(server.url, tmpdir=str(tmp_path))
        file, params = client.infer(published, "oblique", {"result_extension": ".nrrd"})
        assert same_grid(sitk.ReadImage(file), sitk.ReadImage(str(own / "oblique.nii.gz")))
        assert json.dumps(params["label_names"]) == '{"tumor": 1}'
        assert server.infer(published, "image=/etc/hostname").status >= 400
