"""The annotation page as people use it: a server of small heads, and what a hand does on its tiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Visit, labelling
from live import SERVE, Server, running, write_scan
from playwright.sync_api import Browser, Locator, Page, expect

from conftest import small_package
from wsseg.data.phantom import make_phantom
from wsseg.images.formats.nifti import write_nifti
from wsseg.labels.database.store import LabelStore
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.space import BACKGROUND, LabelSpace
from wsseg.models.shelf import publish

MODEL = "page"
LABELS = ("tumor", "edema")
HEADS = ("head_0", "head_1", "head_2", "head_3", "keyed", "lost", "refused")
SLICES = 8
LONG = 300


@pytest.fixture(scope="module", name="server")
def marking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With small heads, a scan of 300 slices, and a model of two classes."""
    folder = tmp_path_factory.mktemp("page")
    studies = folder / "studies"
    studies.mkdir()
    for seed, head in enumerate(HEADS):
        scan, _ = make_phantom(seed, size=64)
        write_nifti(studies / f"{head}.nii.gz", scan.voxels, scan.affine)
    write_scan(studies / "long.nii.gz", (96, 96, LONG))
    (studies / "broken.nii.gz").write_text("not an image", encoding="utf-8")
    strokes = np.zeros((64, 64, SLICES), np.uint8)
    strokes[30:34, 30, 2] = BACKGROUND
    store = LabelStore.at(folder / "home", Project.of_folder(studies))
    lost = ScanIdentity.of("lost", studies / "lost.nii.gz")
    store.scribble(lost, strokes, LabelSpace(LABELS), "slicer")
    store.close()
    models = folder / "home" / "models"
    small_package(models / MODEL / "0.1", "cam", LABELS)
    publish(models, MODEL, "0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_HOME", str(folder / "home"))
        with running((*SERVE, "--studies", str(studies), "--models", MODEL), folder / "log") as server:
            yield server


@pytest.fixture(name="user")
def marking_user(browser: Browser, server: Server, tmp_path: Path) -> Iterator[Visit]:
    """Who has opened its page."""
    with labelling(browser, server.url, "", SLICES, tmp_path) as user:
        yield user


def stored(server: Server, scan: str, label: str = "tumor") -> list[int | None]:
    reply = server.ask(f"/annotate/api/scans/{scan}?model={MODEL}")
    states: list[int | None] = reply.json["presence"][label]
    return states


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("Saved")


def tile(page: Page, index: int) -> Locator:
    return page.locator(f"#slice-{index}")


def drag(page: Page, first: int, last: int) -> None:
    tile(page, first).hover()
    page.mouse.down()
    tile(page, last).hover()
    page.mouse.up()


def go_to(page: Page, scan: str, slices: int = SLICES) -> None:
    page.locator("#scans li", has_text=scan).click()
    expect(page.locator("#scan-name")).to_have_text(scan)
    expect(page.locator(".tile")).to_have_count(slices)


def in_use(page: Page) -> Locator:
    return page.locator("#versions li[aria-current=true]")
