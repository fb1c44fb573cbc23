"""Colour pictures on a live server: segmented with a sentence, labelled on the page, learned from masks."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
from browser import chromium, visit
from live import SERVE, Server, running, write_scan
from monailabel.client import MONAILabelClient
from PIL import Image
from playwright.sync_api import expect

from conftest import PINK, small_package, tissue
from wsseg.images.formats.table import read_volume
from wsseg.models.package import METADATA, WEIGHTS, ModelPackage, Parent, read_package
from wsseg.models.shelf import publish

SECONDS = 300
API = "/annotate/api"
MODEL, FRESH, GREY = "nuclei", "fresh", "heads"
MODELS = f"{MODEL},{FRESH},{GREY}"
SENTENCE = "Nuclei, tile number 0."
LARGE = (900, 600)
BOX = (16, 8)
"""Of a rectangle that somebody draws in the upper left."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, one of them with a mask and one with scribbles beside it, and a grey scan."""
    folder = tmp_path_factory.mktemp("slides")
    for seed in range(3):
        picture, mask = tissue(seed)
        Image.fromarray(picture).save(folder / f"tile_{seed}.png")
    Image.fromarray(255 * mask).save(folder / "tile_2_label.png")
    Image.fromarray(mask).save(folder / "tile_2_scribble.png")
    Image.fromarray(tissue(3, *LARGE)[0]).save(folder / "LARGE.JPG")
    Image.fromarray(tissue(4)[0]).save(folder / "slide.tiff")
    Image.fromarray(tissue(5)[0]).convert("L").save(folder / "grey.jpeg")
    write_scan(folder / "head.nii.gz", (40, 44, 8))
    return folder


@pytest.fixture(scope="module")
def server(nuclei: ModelPackage, studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a model that knows nuclei, one that learns on the same backbone, and one of grey scans."""
    folder = tmp_path_factory.mktemp("slide-server")
    models = folder / "home" / "models"
    version = nuclei.metadata.version
    shutil.copytree(nuclei.folder, models / MODEL / version)
    publish(models, MODEL, version)
    for name, method, label in (
        ("backbone", "ddpm", "nucleus"),
        (FRESH, "textdiff", "nucleus"),
        (GREY, "cam", "tumor"),
    ):
        small_package(models / name / "0.1", method, (label,))
        publish(models, name, "0.1")
    fresh = read_package(models / FRESH / "0.1")
    fresh.metadata.wsseg.parents = {"diffusion": Parent(package="backbone", part="diffusion")}
    (fresh.folder / METADATA).write_text(fresh.metadata.model_dump_json(), encoding="utf-8")
    (fresh.folder / WEIGHTS).unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_HOME", str(folder / "home"))
        with running((*SERVE, "--studies", str(studies), "--models", MODELS), folder / "log") as server:
            yield server


@pytest.fixture
def client(server: Server, tmp_path: Path) -> MONAILabelClient:
    return MONAILabelClient(server.url, tmpdir=str(tmp_path))


def ask(server: Server, method: str, path: str, status: int = 200, **body: Any) -> Any:
    reply = requests.request(method, server.url + path, json=body or None, timeout=120)
    assert reply.status_code == status, reply.text
    return reply.json()


def segmented(server: Server, image: str, model: str = MODEL, **params: Any) -> np.ndarray:
    """A PNG of the mask as it is seen."""
    reply = server.infer(model, f"image={image}&output=image", result_extension=".png", **params)
    assert reply.status == 200, reply.body
    with Image.open(io.BytesIO(reply.body)) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def overlap(found: np.ndarray, seed: int) -> float:
    truth = tissue(seed)[1]
    return float(2 * ((found > 0) & (truth > 0)).sum() / ((found > 0).sum() + truth.sum()))


def drawn(folder: Path, name: str) -> Path:
    """What somebody drew on a tile, as 3D Slicer sends it, or as a PNG."""
    mask = np.zeros((48, 64), np.uint8)
    mask[: BOX[1], : BOX[0]] = 1
    path = folder / name
    if name.endswith(".png"):
        Image.fromarray(255 * mask).save(path)
    elif name.endswith(".jpg"):
        Image.fromarray(255 * mask).save(path, quality=40)
    else:
        nib.save(nib.Nifti1Image(mask.T[:, :, None], np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    return path


def test_pictures_are_scans_and_what_is_drawn_beside_them_is_none(server: Server, client: MONAILabelClient) -> None:
    assert {row["id"]: row["slices"] for row in ask(server, "GET", f"{API}/scans?model={MODEL}")} == {
        **dict.fromkeys(("tile_0", "tile_1", "tile_2", "LARGE", "slide", "grey"), 1),
        "head": 8,
    }
    info = client.info()
    assert set(info["models"]) == {MODEL, GREY, "scribbles", "points"}
    assert info["models"][MODEL]["config"]["text"] == ""
    assert info["models"][MODEL]["description"].endswith("Reads colour pictures.")
    assert not info["models"][GREY]["description"].endswith("Reads colour pictures.")
    assert info["trainers"][FRESH]["config"] == {}, "a backbone is not trained with the model"
    shown = {model["name"]: model["reads_text"] for model in ask(server, "GET", f"{API}/models")}
    assert shown == {MODEL: True, FRESH: True, GREY: False}


def test_masks_come_back_upright_in_every_format(server: Server, tmp_path: Path) -> None:
    upright = segmented(server, "tile_0")
    assert upright.shape == (48, 64)
    assert overlap(upright, 0) > 0.6
    for extension in (".nii.gz", ".nrrd"):
        reply = server.infer(MODEL, "image=tile_0&output=image", result_extension=extension)
        path = tmp_path / f"mask{extension}"
        path.write_bytes(reply.body)
        mask = read_volume(path)
        assert np.array_equal(mask.voxels[:, :, 0].T, upright // 255)
        np.testing.assert_allclose(mask.affine, np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert segmented(server, "slide").shape == (48, 64)
    assert segmented(server, "grey", GREY).shape == (48, 64)
    Image.fromarray(tissue(0)[0]).save(tmp_path / "sent.tif")
    reply = server.ask(f"/infer/{MODEL}?output=json", "POST", {"params": "{}"}, tmp_path / "sent.tif")
    assert reply.json["label_names"] == {"nucleus": 1}


def test_the_sentence_of_the_request_or_else_of_the_store(server: Server) -> None:
    def told(model: str, **params: Any) -> str | None:
        text: str | None = server.infer(model, "image=tile_0&output=json", **params).json.get("text")
        return text

    untold = segmented(server, "tile_0")
    assert told(MODEL) is None
    assert told(MODEL, text=SENTENCE) == SENTENCE
    by_request = segmented(server, "tile_0", text=SENTENCE)
    assert not np.array_equal(by_request, untold)
    ask(server, "PUT", f"{API}/scans/tile_0/text", text=SENTENCE, annotator="ada")
    assert told(MODEL) == SENTENCE
    assert np.array_equal(segmented(server, "tile_0"), by_request)
    assert told(MODEL, text="Another.") == "Another."
    # Models that read none take it for a label only.
    assert server.infer(GREY, "image=grey&output=json", text="Kept.", save_as_label=True).status == 200
    assert ask(server, "GET", f"{API}/scans/grey?model={GREY}")["text"] == "Kept."
    ask(server, "PUT", f"{API}/scans/tile_0/text", text="", annotator="ada")


def test_what_does_not_fit_gets_one_sentence(server: Server, tmp_path: Path) -> None:
    pictures, grey = "the model reads colour pictures", "the model reads grey values"
    for model, image, params, sentence in [
        (MODEL, "head", {}, f"the scan holds grey values, {pictures}"),
        (MODEL, "grey", {}, f"the scan holds grey values, {pictures}"),
        (GREY, "tile_0", {}, f"the scan holds colour pictures, {grey}"),
        (GREY, "head", {"result_extension": ".png"}, 'result_extension ".png": holds one slice, the scan has 8'),
        (GREY, "grey", {"result_extension": ".jpg"}, 'result_extension ".jpg" is unknown'),
        (MODEL, "tile_0", {"text": 3}, "text: must be a sentence, not"),
        (MODEL, "tile_0", {"text": "a" * 2001}, "text: has 2001 characters, 2000 are possible"),
    ]:
        reply = server.infer(model, f"image={image}&output=json", **params)
        assert reply.status == 400
        assert sentence in reply.detail
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    reply = server.ask(f"/infer/{MODEL}", "POST", {"params": "{}"}, tmp_path / "cut.png")
    assert (reply.status, reply.detail.startswith("cut.png: cannot be read as a picture")) == (400, True)


def test_the_page_shows_a_picture_large_in_its_colours(server: Server) -> None:
    for scan, size in (("tile_0", (128, 96)), ("LARGE", (768, 512))):
        layout = ask(server, "GET", f"{API}/scans/{scan}?model={MODEL}")["sprite"]
        assert layout == {"columns": 1, "width": size[0], "height": size[1]}
        with Image.open(io.BytesIO(server.ask(f"{API}/scans/{scan}/sprite").body)) as sprite:
            assert (sprite.mode, sprite.size) == ("RGB", size)
            assert np.abs(np.asarray(sprite)[-9:, -9:].mean(axis=(0, 1)) - PINK).max() < 12, "pink at the lower right"
    with Image.open(io.BytesIO(server.ask(f"{API}/scans/head/sprite").body)) as sprite:
        assert sprite.mode == "L"


def test_next_case_marks_and_sentence_in_the_browser(server: Server, tmp_path: Path) -> None:
    """Opened, marked, described; the overlay follows the sentence."""
    address = f"{server.url}/annotate/#model={MODEL}&scan=tile_1"
    with chromium() as browser, visit(browser, address, tmp_path) as user:
        page = user.page
        expect(page.locator("#scan-name")).to_have_text("tile_1")
        tile = page.locator(".tile")
        expect(tile).to_have_count(1)
        assert tile.bounding_box()["width"] == pytest.approx(128, abs=2)
        tile.click()
        expect(page.locator("#counts")).to_have_text("1 ✓   0 ✕   0 unknown")
        expect(page.locator("#saved")).to_have_text("Saved")  # else the overlay follows the mark first
        page.locator("#overlay").click()
        expect(page.locator("body.overlaid")).to_have_count(1)
        overlays = [url for url in user.asked if "/overlay?" in url]
        page.locator("#text").fill("Nuclei, tile number 1.")
        page.wait_for_function(
            "before => !document.body.style.getPropertyValue('--overlay').includes(before)", arg=overlays[-1][-30:]
        )
        assert ask(server, "GET", f"{API}/scans/tile_1?model={MODEL}")["text"] == "Nuclei, tile number 1."
        page.locator("#scans li", has_text="LARGE").click()
        expect(page.locator("#scan-name")).to_have_text("LARGE")
        box = tile.bounding_box()
        assert box["width"] > 300, "beside the slice view"
        assert box["width"] / box["height"] == pytest.approx(1.5, abs=0.01)
        assert box["y"] + box["height"] < 920, "seen without scrolling"
        user.picture("picture")
        assert user.errors == []
    chosen = ask(server, "POST", f"{API}/next", strategy="first", model=MODEL)
    assert chosen["id"] == "LARGE", "tile_1 is labelled"
    assert ask(server, "POST", f"{API}/next", strategy="informative", model=MODEL)["id"] != "tile_1"


def test_masks_from_a_viewer_and_sentences_train_the_head(
    server: Server, client: MONAILabelClient, tmp_path: Path
) -> None:
    info = {"label_info": [{"name": "nucleus", "idx": 1}]}
    Image.fromarray(tissue(0)[0]).save(tmp_path / "colours.png")
    for file, sentence in (
        (drawn(tmp_path, "lossy.jpg"), "lossy.jpg: unknown file type for a mask"),
        (tmp_path / "colours.png", "colours.png: is a colour picture, a mask holds class values"),
    ):
        with file.open("rb") as sent:
            reply = requests.put(
                f"{server.url}/datastore/label?image=tile_0", files={"label": (file.name, sent)}, timeout=60
            )
        assert (reply.status_code, sentence in reply.json()["detail"]) == (400, True), reply.text
    ask(server, "PUT", f"{API}/scans/tile_0/text", text=SENTENCE, annotator="ada")
    detail = ask(server, "POST", f"/train/{FRESH}", 400)["detail"]
    assert detail == "labels: no scan has a finished mask of nucleus"
    client.save_label("tile_0", str(drawn(tmp_path, "mask.nii.gz")), params=info)
    client.save_label("tile_2", str(drawn(tmp_path, "mask.png")), params=info)
    assert ask(server, "GET", f"{API}/scans/tile_2?model={FRESH}")["presence"]["nucleus"] == [1]

    task = ask(server, "POST", f"/train/{FRESH}", steps=20)
    assert task["request"]["parts"] in ([], [FRESH]), "the backbone stays as it is"
    end = time.monotonic() + SECONDS
    while (status := ask(server, "GET", f"{API}/train"))["phase"] not in ("done", "failed", "cancelled"):
        assert time.monotonic() < end, status
        time.sleep(0.2)
    assert status["phase"] == "done", status
    assert status["parts"] == [FRESH]
    facts = client.info()["models"][FRESH]
    assert facts["version"].startswith("0.1+")
    found = segmented(server, "tile_0", FRESH)
    assert found.shape == (48, 64)
