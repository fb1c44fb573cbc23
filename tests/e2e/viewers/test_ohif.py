"""OHIF in a real browser on studies in a real Orthanc: a model at a click, a stored mask, each where the finding is."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
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
from scipy import ndimage

from wsseg.archive.web.client import PASSWORD, USER
from wsseg.data.phantom import make_phantom
from wsseg.evaluation.metrics import dice_of
from wsseg.images.volume import Volume
from wsseg.models.shelf import find_package

GLIOMA = {"cldf-glioma-flair": 0.6, "cdm-glioma-flair": 0.4, "cam-glioma-flair": 0.1}
"""The least Dice on so coarse a scan, on which the map of class activation has few pixels."""

CARDIAC = "pclmix-cardiac-cine"
CARDIAC_DICE = 0.4
"""The least of each class on a heart of ellipses."""

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

# A block is voxels with their place in the patient: a volume, or one image of a stack.
_BLOCKS = """
  const { cache, metaData } = window.cornerstone;
  const ofVolume = (v) => ({
    size: v.dimensions,
    spacing: v.spacing,
    origin: v.origin,
    direction: Array.from(v.direction),
    voxels: Array.from(v.voxelManager.getCompleteScalarDataArray()),
  });
  const ofImage = (image) => {
    const plane = metaData.get("imagePlaneModule", image.referencedImageId);
    return {
      size: [image.columns, image.rows, 1],
      spacing: [plane.columnPixelSpacing, plane.rowPixelSpacing, 1],
      origin: plane.imagePositionPatient,
      direction: [...plane.rowCosines, ...plane.columnCosines, 0, 0, 0],
      voxels: Array.from(image.voxelManager.getScalarData()),
    };
  };
"""
IMAGES = f"""() => {{
  {_BLOCKS}
  const volumes = [...cache._volumeCache.values()].map((entry) => entry.volume);
  return volumes.filter((v) => v.volumeId.startsWith("cornerstoneStreaming")).map(ofVolume);
}}"""
SEGMENTATIONS = f"""() => {{
  {_BLOCKS}
  const {{ segmentationService, viewportGridService }} = window.services;
  const [viewport] = viewportGridService.getState().viewports.keys();
  return segmentationService.getSegmentations().map(({{ segmentationId, label, segments, representationData }}) => {{
    const {{ volumeId, imageIds }} = representationData.Labelmap;
    return {{
      label,
      values: Object.fromEntries(Object.values(segments).map((s) => [s.label, s.segmentIndex])),
      colors: Object.fromEntries(Object.values(segments).map((s) =>
        [s.label, Array.from(segmentationService.getSegmentColor(viewport, segmentationId, s.segmentIndex))])),
      blocks: volumeId ? [ofVolume(cache.getVolume(volumeId))] : imageIds.map((id) => ofImage(cache.getImage(id))),
    }};
  }});
}}"""


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
        with running((*SERVE, "--studies", archive.url, "--models", ",".join((*GLIOMA, CARDIAC))), log) as server:
            yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*SWITCHES) as browser:
        yield browser


def turned(scan: Volume, mask: np.ndarray) -> tuple[Volume, np.ndarray]:
    """The same patient, tilted in the scanner, and stored from the top down."""
    a, b = np.deg2rad([20.0, 15.0])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    rotation = np.eye(4)
    rotation[:3, :3] = turn @ tilt
    rotation[:3, 3] = [12.5, -30.25, 7.0]
    return Volume(scan.voxels, rotation @ scan.affine @ np.diag([1, 1, -1, 1])), mask


def make_heart() -> tuple[Volume, np.ndarray]:
    """A chest of ellipses in short axis, three slices alike, and its mask: 1 right ventricle, 2 wall, 3 left."""
    mm = 1.5
    x, y = np.meshgrid(*[(np.arange(96) - 48) * mm] * 2, indexing="ij")

    def ellipse(across: float, down: float, radii: tuple[float, float]) -> np.ndarray:
        return ((x - across) / radii[0]) ** 2 + ((y - down) / radii[1]) ** 2 < 1

    left, wall = ellipse(8, 5, (20, 20)), ellipse(8, 5, (30, 30))
    right = ellipse(-22, 0, (24, 30)) & ~wall
    chest, lungs = ellipse(0, 0, (66, 58)), ellipse(25, -5, (35, 38)) | ellipse(-35, 5, (22, 35))
    around = ellipse(-22, 0, (27, 33))
    parts = [chest, lungs, around, right, wall, left]
    image = ndimage.gaussian_filter(np.select(parts[::-1], [200.0, 55.0, 190.0, 60.0, 15.0, 35.0], 10.0), 0.8)
    noise = np.random.default_rng(0).normal(0, 5, (*image.shape, 3))
    mask = np.select([left, wall, right], [3, 2, 1])
    scan = Volume(np.clip(image[..., None] + noise, 0, None), np.diag([mm, mm, 8, 1]))
    return scan, np.repeat(mask[..., None], 3, axis=2)


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


def on_screen(blocks: list[dict[str, Any]], affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What the page has on a scan's grid, by where in the patient the page has each voxel."""
    to_scan = np.linalg.inv(affine)
    found = np.full(shape, np.nan)
    for block in blocks:
        size = np.array(block["size"])
        voxels = np.reshape(block["voxels"], size[::-1]).T
        axes = np.reshape(block["direction"], (3, 3)).T * block["spacing"]
        index = np.indices(size).reshape(3, -1)
        places = ((axes @ index).T + block["origin"]) * [-1, -1, 1]
        at = places @ to_scan[:3, :3].T + to_scan[:3, 3]
        nearest = np.round(at).astype(int)
        assert np.abs(at - nearest).max() < 0.01, "the page has it on another grid"
        assert nearest.min() >= 0
        found[tuple(nearest.T)] = voxels.ravel()
    assert not np.isnan(found).any()
    return found


def mask_of(server: Server, model: str, uid: str, **params: Any) -> nib.Nifti1Image:
    """The server's mask of a series."""
    reply = server.infer(model, f"image={uid}&output=image", **params)
    assert reply.status == 200, reply.body
    return nib.Nifti1Image.from_bytes(gzip.decompress(reply.body))


def shown(page: Page, mask: nib.Nifti1Image, values: dict[str, int]) -> dict[str, Any]:
    """The page's segmentation, as soon as it is this very mask: each class by its name, nothing else.

    OHIF sorts the classes by name and counts them anew.

    Args:
        values: of the classes in the mask.
    """
    voxels = np.asarray(mask.dataobj)
    assert set(np.unique(voxels)) == {0, *values.values()}, "every class is to be seen"
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for found in page.evaluate(SEGMENTATIONS):
            wanted = np.zeros(voxels.shape)
            for name, value in values.items():
                wanted[voxels == value] = found["values"].get(name, np.nan)
            if (on_screen(found["blocks"], mask.affine, voxels.shape) == wanted).all():
                return found
        page.wait_for_timeout(500)
    pytest.fail("the page does not show the mask that the server made")


SCANS: dict[str, tuple[Callable[[], tuple[Volume, np.ndarray]], dict[str, float]]] = {
    "head": (lambda: make_phantom(0, size=64), GLIOMA),
    "turned heart": (lambda: turned(*make_heart()), {CARDIAC: CARDIAC_DICE}),
}
"""What is scanned, and the models that are clicked with their least Dice of a class."""


@pytest.mark.parametrize("name", SCANS)
def test_a_click_shows_the_finding_where_it_is(
    name: str, server: Server, archive: Orthanc, browser: Browser, tmp_path: Path
) -> None:
    make, models = SCANS[name]
    scan, truth = make()
    files = write_patient(tmp_path / name, name, as_itk(scan))
    archive.send(files)
    first = dcmread(files[0])
    offered = server.ask("/info/").json["models"]
    with visit(browser, f"{server.url}/ohif/monai-label?StudyInstanceUIDs={first.StudyInstanceUID}", tmp_path) as made:
        connect(made.page, server)
        for model, least in models.items():
            click(made.page, model)
            classes = offered[model]["labels"]
            found = shown(made.page, mask_of(server, model, first.SeriesInstanceUID), classes)
            made.picture(model)
            marked = on_screen(found["blocks"], scan.affine, truth.shape)
            for label, value in classes.items():
                assert dice_of(marked == found["values"][label], truth == value) > least
                assert max(found["colors"][label][:3]) > 100, "too dark to be seen"
        image = on_screen(made.page.evaluate(IMAGES), scan.affine, scan.voxels.shape)
        np.testing.assert_array_equal(image, np.round(scan.voxels), "slices of the image are mixed up")
        assert made.errors == []


def test_a_stored_seg_opens_with_its_names_and_colours(
    server: Server, archive: Orthanc, browser: Browser, tmp_path: Path
) -> None:
    """In the viewer that knows nothing of MONAI Label, of a series that is tilted and counts from the top down."""
    files = write_patient(tmp_path / "stored", "stored", as_itk(turned(*make_heart())[0]))
    archive.send(files)
    first = dcmread(files[0])
    package = find_package(CARDIAC)
    name = f"{CARDIAC} {package.metadata.version}"
    mask = mask_of(server, CARDIAC, first.SeriesInstanceUID, save_label=True, label_tag="final")
    assert len(archive.segs(first.StudyInstanceUID)) == 1
    with visit(browser, f"{server.url}/ohif/viewer?StudyInstanceUIDs={first.StudyInstanceUID}", tmp_path) as made:
        made.page.get_by_text("Confirm and Hide").first.click(timeout=SLOW_MS)
        made.page.get_by_text(name).first.dblclick(timeout=SLOW_MS)
        made.page.get_by_text("Yes", exact=True).click(timeout=SLOW_MS)
        found = shown(made.page, mask, package.labels.values())
        made.picture("seg")
        assert found["label"] == name
        assert list(found["values"]) == list(package.labels.names)
        for label, entry in package.recipe.labels.items():
            np.testing.assert_allclose(found["colors"][label], (*entry.color, 255), atol=2)
        assert made.errors == []
