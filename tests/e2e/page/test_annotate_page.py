"""The annotation page in a real browser on a live server: label, train, next case, better model."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Visit, chromium, visit
from live import SERVE, Server, running, write_scan
from playwright.sync_api import Browser, Locator, Page, Route, expect

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
TRAINED = re.compile(r"is (kept but not )?in use")
FRAME_MS = 1000 / 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With small heads, a scan of 300 slices, and a model of two classes."""
    folder = tmp_path_factory.mktemp("page")
    studies = folder / "studies"
    studies.mkdir()
    for seed, head in enumerate(HEADS):
        scan, _ = make_phantom(seed, size=64)
        write_nifti(studies / f"{head}.nii.gz", scan.voxels, scan.affine)
    write_scan(studies / "long.nii.gz", (96, 96, LONG))
    (studies / "broken.nii.gz").write_text("not an image")
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In the folder that ``WSSEG_SCREENSHOTS`` names, else among the tests' temporary files."""
    named = os.environ.get("WSSEG_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    request.config.pluginmanager.get_plugin("terminalreporter").write_line(f"\nscreenshots: {folder}")


@pytest.fixture
def user(browser: Browser, server: Server, screenshots: Path) -> Iterator[Visit]:
    """A visitor of the page, all of whose requests go to the server and are answered."""
    with visit(browser, f"{server.url}/annotate/", screenshots) as user:
        expect(user.page.locator(".tile")).to_have_count(SLICES)
        yield user
        outside = [url for url in user.asked if not url.startswith((server.url, "data:", "blob:"))]
        assert outside == []
        assert user.errors == []


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


def test_whole_loop(user: Visit, server: Server) -> None:
    page = user.page
    user.picture("1 opened")
    page.get_by_label("Annotator").fill("Ada")

    for state in (1, 0, None, 1):
        tile(page, 6).click()
        saved(page)
        assert stored(server, "head_0")[6] == state
    drag(page, 4, 2)
    tile(page, 0).click()
    tile(page, 0).click()
    tile(page, 1).click(modifiers=["Shift"])
    saved(page)
    assert stored(server, "head_0") == [0, 0, 1, 1, 1, None, 1, None]
    page.locator("#undo").click()
    saved(page)
    assert stored(server, "head_0")[:2] == [0, None]
    page.keyboard.press("a")
    saved(page)
    assert stored(server, "head_0") == [0, 0, 1, 1, 1, 0, 1, 0]
    assert page.locator("#counts").inner_text().split() == ["4", "✓", "4", "✕", "0", "unknown"]

    page.get_by_role("radio", name="edema").click()
    page.locator("#mosaic").press("Home")
    page.keyboard.press("y")
    page.locator("#others").click()
    page.locator("#text").fill("Mass in the left temporal lobe.")
    saved(page)
    assert stored(server, "head_0", "edema") == [1] + [0] * 7
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.keyboard.press("o")
    expect(page.locator("body")).to_have_class("overlaid")
    expect(page.locator("#slice-probability")).to_contain_text("model: ")
    user.picture("2 labelled, with the overlay")

    for scan in ("head_1", "head_2"):
        go_to(page, scan)
        for key in ("1", "2"):
            page.keyboard.press(key)
            drag(page, 2, 4)
            page.keyboard.press("a")
    page.keyboard.press("o")
    page.locator("#next-case").click()
    expect(page.locator("#why")).to_contain_text("Why this case: ")
    expect(page.locator("#scan-name")).to_have_text(re.compile("head_3|keyed|lost|refused|long"))
    asked = re.findall(r"\d+", page.locator("#why").inner_text().rpartition("slices ")[2])
    expect(page.locator(".tile[data-asked]")).to_have_count(len(asked))
    user.picture("3 next case")

    page.locator("#train").click()
    expect(page.locator("#progress")).to_be_visible()
    expect(page.locator("#curve polyline.loss")).to_be_visible(timeout=120_000)
    user.picture("4 training")
    expect(page.locator("#training-line")).to_have_text(TRAINED, timeout=120_000)
    versions = page.locator("#versions li")
    expect(versions).to_have_count(2)
    user.picture("5 trained")
    for index in (0, 1):
        use = versions.nth(index).get_by_role("button")
        if use.is_visible():
            version = versions.nth(index).get_attribute("data-version")
            use.click()
            expect(in_use(page)).to_have_attribute("data-version", str(version))
            expect(page.locator("#model")).to_have_text(re.compile(re.escape(f"{MODEL} {version}") + "$"))
    user.picture("6 rolled back")


def test_keyboard_alone(user: Visit, server: Server) -> None:
    page = user.page
    press = page.keyboard.press
    go = ("p", "n")  # there is none before the first
    for key in (*go, "Tab"):
        press(key)
    expect(page.locator("#scan-name")).to_have_text("head_1")
    page.reload()
    expect(page.locator("#scan-name")).to_have_text("head_1")  # the address says which
    press("PageDown")
    expect(page.locator("#scan-name")).to_have_text("head_2")
    press("n")
    expect(page.locator("#scan-name")).to_have_text("head_3")

    press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    press("Enter")
    expect(page.locator("#mosaic")).to_be_focused()
    for key in ("End", "Shift+ArrowLeft", "Shift+ArrowLeft", " ", "Home", "x"):
        press(key)
    saved(page)
    assert stored(server, "head_3") == [0, None, None, None, None, 1, 1, 1]
    press("ArrowRight")
    expect(page.locator("#mosaic")).to_have_attribute("aria-activedescendant", "slice-1")
    expect(tile(page, 1)).to_have_attribute("aria-label", re.compile("^slice 2, tumor: unknown"))
    press("Control+z")
    press("u")
    saved(page)
    assert stored(server, "head_3") == [None] * SLICES
    press("2")
    press(" ")
    press("t")
    page.keyboard.type("Oedema.")
    press("Escape")
    saved(page)
    assert stored(server, "head_3", "edema")[1] == 1
    assert server.ask(f"/annotate/api/scans/head_3?model={MODEL}").json["text"] == "Oedema."
    press("?")
    expect(page.locator("#help")).to_be_visible()
    user.picture("7 help")
    assert user.low_contrast() == []
    press("Escape")
    expect(page.locator("#help")).to_be_hidden()

    page.locator("#mosaic").focus()
    reached = _focused_by_tab(page)
    assert {"scans", "mosaic", "train", "next-case", "strategy", "model", "overlay", "text", "others"} <= reached

    page.locator("#mosaic").focus()
    for key in ("2", "y", "a"):
        press(key)
    press("1")
    press("y")
    press("a")
    saved(page)
    page.locator("#train").focus()
    press("Enter")
    expect(page.locator("#progress")).to_be_visible()
    expect(page.locator("#cancel")).to_be_focused()
    press("Enter")
    expect(page.locator("#training-line")).to_have_text(re.compile("cancel"))
    expect(page.locator("#train")).to_be_focused()


def test_keys_act_on_the_slice_that_the_panel_shows(user: Visit, server: Server) -> None:
    page = user.page
    go_to(page, "keyed")
    tile(page, 5).hover()
    expect(page.locator("#slice-name")).to_have_text(f"Slice 6 of {SLICES}")
    page.keyboard.press("x")
    expect(page.locator("#slice-name")).to_have_text(f"Slice 6 of {SLICES}")
    tile(page, 3).hover()
    page.keyboard.press(" ")
    page.locator("#mosaic").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#slice-name")).to_have_text(f"Slice 3 of {SLICES}")
    page.keyboard.press("y")
    saved(page)
    assert stored(server, "keyed") == [None, None, 1, 1, None, 0, None, None]


def test_a_scan_that_cannot_be_labelled_is_greyed_before_the_click(user: Visit) -> None:
    page = user.page
    row = page.locator("#scans li", has_text="broken")
    expect(row).to_have_attribute("aria-disabled", "true")
    expect(row).to_contain_text("cannot be labelled")
    assert "broken: " in str(row.locator("span").get_attribute("title"))
    row.click(force=True)
    expect(page.locator("#scan-name")).to_have_text("head_0")
    assert user.low_contrast() == []


def _focused_by_tab(page: Page) -> set[str]:
    """Ids of what Tab reaches, all of which show that they have the focus."""
    look = "(at) => [at.id || at.tagName, getComputedStyle(at).outlineStyle]"
    reached: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        name, outline = page.locator(":focus, body").last.evaluate(look)
        assert outline != "none" or name == "BODY", name
        reached.add(name)
    return reached


def test_unsaved_labels_are_told_kept_and_sent_again(user: Visit, server: Server) -> None:
    page = user.page
    go_to(page, "lost")

    def lost(route: Route) -> None:
        route.abort() if route.request.method == "PUT" else route.continue_()

    page.route("**/annotate/api/scans/**", lost)
    tile(page, 0).click()
    tile(page, 7).click()
    line = page.locator("#saved")
    expect(line).to_have_text("Not saved, trying again: 2 changes")
    assert user.low_contrast() == []
    user.picture("8 not saved")
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
    page.reload()
    expect(line).to_have_text("Not saved, trying again: 2 changes")
    expect(tile(page, 7)).to_have_attribute("data-state", "1")
    assert stored(server, "lost") == [None] * SLICES
    page.unroute("**/annotate/api/scans/**")
    saved(page)
    assert stored(server, "lost") == [1] + [None] * 6 + [1]


def test_what_is_being_typed_is_stored_when_the_page_is_closed(user: Visit, server: Server) -> None:
    page = user.page

    def text() -> str:
        told: str = server.ask(f"/annotate/api/scans/refused?model={MODEL}").json["text"]
        return told

    def comes(wanted: str) -> None:
        end = time.monotonic() + 60  # the page waits for a pause in typing before it sends
        while text() != wanted:
            assert time.monotonic() < end, text()
            time.sleep(0.1)

    go_to(page, "refused")
    for written in ("A cyst.", ""):
        page.locator("#text").fill(written)
        comes(written)
    expect(page.locator("#alerts")).to_be_empty()
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
    page.locator("#text").press_sequentially("No cyst.")
    page.close(run_before_unload=True)
    comes("No cyst.")


def test_scribbles_are_erased_and_brought_back(user: Visit, server: Server) -> None:
    page = user.page

    def strokes() -> list[int]:
        told: list[int] = server.ask(f"/annotate/api/scans/lost?model={MODEL}").json["scribbled"]["background"]
        return told

    go_to(page, "lost")
    expect(page.locator("#erase")).to_be_hidden()
    page.locator("#mosaic").press("ArrowRight")
    page.keyboard.press("ArrowRight")
    user.picture("9 a slice with scribbles")
    page.locator("#erase").click()
    expect(page.locator("#erase")).to_be_hidden()
    saved(page)
    assert strokes() == []
    expect(page.locator("#scans li", has_text="lost")).not_to_contain_text("scribbles")
    page.keyboard.press("u")
    expect(page.locator("#erase")).to_be_visible()
    saved(page)
    assert strokes() == [2]


def test_refused_label_is_told_and_taken_back(user: Visit, server: Server) -> None:
    page = user.page
    go_to(page, "refused")

    def refuse(route: Route) -> None:
        body = route.request.post_data_json
        route.continue_(post_data={**body, "label": "bone"})

    page.route("**/presence*", refuse)
    tile(page, 4).click()
    expect(page.locator("#alerts")).to_contain_text('Not saved: refused, slice 4: label "bone" is unknown')
    expect(tile(page, 4)).to_have_attribute("data-state", "null")
    saved(page)
    assert stored(server, "refused") == [None] * SLICES


def test_300_slices_stay_smooth(user: Visit, server: Server) -> None:
    page = user.page
    go_to(page, "long", LONG)
    page.locator("#size").fill("72")
    # Work per slice of a drag over all, style and layout included.
    drags: dict[str, Any] = page.evaluate(
        """async () => {
          const tiles = [...document.querySelectorAll(".tile")];
          const tell = (element, type) => {
            const start = performance.now();
            element.dispatchEvent(new PointerEvent(type, { bubbles: true, button: 0, buttons: 1 }));
            document.body.offsetHeight;
            return performance.now() - start;
          };
          tell(tiles[0], "pointerdown");
          const steps = tiles.map((tile) => tell(tile, "pointerover"));
          const frames = [];
          for (let last = performance.now(), k = 0; k < 60; k++) {
            tell(tiles[(k * 37) % tiles.length], "pointerover");
            await new Promise(requestAnimationFrame);
            frames.push(performance.now() - last);
            last = performance.now();
          }
          tell(tiles.at(-1), "pointerover");
          return { steps, frames, end: tell(tiles.at(-1), "pointerup") };
        }"""
    )
    step, frame = (statistics.median(drags[name]) for name in ("steps", "frames"))
    print(f"300 slices: {step:.1f} ms per slice of a drag, {frame:.0f} ms per frame, {drags['end']:.0f} ms to mark all")
    assert step < FRAME_MS
    assert frame < 4 * FRAME_MS  # a browser without a graphics card, on a busy machine
    assert drags["end"] < 250
    saved(page)
    assert stored(server, "long") == [1] * LONG
    page.locator("#mosaic").press("End")
    page.keyboard.press(" ")
    saved(page)
    assert stored(server, "long")[-1] == 0
    user.picture("10 three hundred slices")
