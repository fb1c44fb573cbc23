"""OHIF in a real browser on a study in a real Orthanc: a model at a click, its mask where the finding is."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from browser import chromium, visit
from live import SERVE, Server, running
from orthanc import AUTH, Orthanc, as_itk, orthanc, write_patient
from playwright.sync_api import Browser, Page
from pydicom import dcmread

from wsseg.app.pacs import PASSWORD, USER
from wsseg.data.phantom import make_phantom
from wsseg.evaluate import dice_of
from wsseg.volume import Volume

MODELS = {"cldf-glioma-flair": 0.6, "cam-glioma-flair": 0.1}
"""The least Dice on so coarse a scan, on which the map of class activation has few pixels."""

# WebGL without a graphics card, and nothing from outside: OHIF asks for fonts.
SWITCHES = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SLOW_MS = 120_000
RUN = 'button[title="Run Segmentation"]'

VOLUMES = """() => [...window.cornerstone.cache._volumeCache.values()].map((entry) => entry.volume).map((v) => ({
  image: v.volumeId.startsWith("cornerstoneStreaming"),
  size: v.dimensions,
  spacing: v.spacing,
  origin: v.origin,
  direction: Array.from(v.direction),
  voxels: Array.from(v.voxelManager.getCompleteScalarDataArray()),
}))"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as made:
        yield made


@pytest.fixture(scope="module")
def server(archive: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(USER, AUTH[0])
        patch.setenv(PASSWORD, AUTH[1])
        log = tmp_path_factory.mktemp("ohif") / "log"
        with running((*SERVE, "--studies", archive.url, "--models", ",".join(MODELS)), log) as server:
            yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*SWITCHES) as browser:
        yield browser


def turned(scan: Volume) -> Volume:
    """The same head, tilted in the scanner, and stored from the top down."""
    a, b = np.deg2rad([20.0, 15.0])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    rotation = np.eye(4)
    rotation[:3, :3] = turn @ tilt
    rotation[:3, 3] = [12.5, -30.25, 7.0]
    return Volume(scan.voxels, rotation @ scan.affine @ np.diag([1, 1, -1, 1]))


def connect(page: Page, server: Server) -> None:
    page.wait_for_selector("#monailabelServerURL", timeout=SLOW_MS)
    page.get_by_text("Confirm and Hide").first.click()
    page.wait_for_function("document.querySelectorAll('canvas').length >= 3", timeout=SLOW_MS)
    page.fill("#monailabelServerURL", f"{server.url}/")
    page.locator(".settingsTable button.actionButton").click()
    page.wait_for_selector(RUN, timeout=SLOW_MS)


def click(page: Page, model: str) -> None:
    """Choose a model and run it."""
    page.locator(".modelSelector select.selectBox").first.select_option(model)
    with page.expect_response(lambda reply: f"/infer/{model}" in reply.url, timeout=SLOW_MS) as got:
        page.locator(RUN).first.click()
    assert got.value.status == 200


def on_screen(volume: dict[str, Any], affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A volume of the page on a scan's grid, by where in the patient the page has each voxel."""
    size = np.array(volume["size"])
    voxels = np.reshape(volume["voxels"], size[::-1]).T
    axes = np.reshape(volume["direction"], (3, 3)).T * volume["spacing"]
    index = np.indices(size).reshape(3, -1)
    places = (axes @ index).T + volume["origin"]
    places *= [-1, -1, 1]
    to_scan = np.linalg.inv(affine)
    at = places @ to_scan[:3, :3].T + to_scan[:3, 3]
    nearest = np.round(at).astype(int)
    assert np.abs(at - nearest).max() < 0.01, "the page has it on another grid"
    assert (nearest.min(axis=0) == 0).all()
    found = np.full(shape, -1.0)
    found[tuple(nearest.T)] = voxels.ravel()
    return found


def overlay_of(page: Page, mask: nib.Nifti1Image) -> dict[str, Any]:
    """The page's volume that is this very mask, as soon as there is one."""
    wanted = np.asarray(mask.dataobj)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        overlays = [volume for volume in page.evaluate(VOLUMES) if not volume["image"]]
        for overlay in overlays:
            if (on_screen(overlay, mask.affine, wanted.shape) == wanted).all():
                return overlay
        page.wait_for_timeout(500)
    pytest.fail("the page does not show the mask that the server made")


@pytest.mark.parametrize(("name", "models"), [("straight", list(MODELS)), ("turned", list(MODELS)[:1])])
def test_a_click_shows_the_finding_where_it_is(
    name: str, models: list[str], server: Server, archive: Orthanc, browser: Browser, tmp_path: Path
) -> None:
    head, lesion = make_phantom(0, size=64)
    scan = turned(head) if name == "turned" else head
    files = write_patient(tmp_path / name, name, as_itk(scan))
    archive.send(files)
    first = dcmread(files[0])
    with visit(browser, f"{server.url}/ohif/monai-label?StudyInstanceUIDs={first.StudyInstanceUID}", tmp_path) as made:
        connect(made.page, server)
        for model in models:
            click(made.page, model)
            reply = server.infer(model, f"image={first.SeriesInstanceUID}&output=image")
            mask = nib.Nifti1Image.from_bytes(gzip.decompress(reply.body))
            overlay = overlay_of(made.page, mask)
            made.picture(model)
            marked = on_screen(overlay, scan.affine, lesion.shape)
            assert dice_of(marked > 0, lesion > 0) > MODELS[model]
        [image] = [volume for volume in made.page.evaluate(VOLUMES) if volume["image"]]
        shown = on_screen(image, scan.affine, scan.voxels.shape)
        np.testing.assert_array_equal(shown, np.round(scan.voxels), "slices of the image are mixed up")
        assert made.errors == []
