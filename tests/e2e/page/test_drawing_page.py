"""Drawing on slices in a real browser: every tool, by mouse, pen, finger and key; saved, undone, seen by others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_core_python.sync_playwright import Axe
from browser import Visit, labelling, visit
from live import SERVE, Server, running
from playwright.sync_api import Browser, Page, expect

from conftest import small_package
from wsseg.data.phantom import make_phantom
from wsseg.images.formats.nifti import write_nifti
from wsseg.models.shelf import publish

MODEL = "desk"
LABELS = ("tumor", "edema")
SLICES = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("desk")
    studies = folder / "studies"
    studies.mkdir()
    for seed in range(2):
        scan, _ = make_phantom(seed, size=64)
        write_nifti(studies / f"head_{seed}.nii.gz", scan.voxels, scan.affine)
    scan.voxels[:, :, 0] = 0
    write_nifti(studies / "padded.nii.gz", scan.voxels, scan.affine)
    models = folder / "home" / "models"
    small_package(models / MODEL / "0.1", "union", LABELS)
    publish(models, MODEL, "0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_HOME", str(folder / "home"))
        with running((*SERVE, "--studies", str(studies), "--models", MODEL), folder / "log") as server:
            yield server


@pytest.fixture
def user(browser: Browser, server: Server, tmp_path: Path) -> Iterator[Visit]:
    with labelling(browser, server.url, f"model={MODEL}&scan=head_0", SLICES, tmp_path) as user:
        yield user


def drawn(server: Server, scan: str = "head_0") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.ask(f"/annotate/api/scans/{scan}/drawings?model={MODEL}").json["drawings"]
    return found


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("Saved")


def line(page: Page, *places: tuple[float, float]) -> None:
    """Drag over the canvas, places being parts of its width and height."""
    box = page.locator("#slice-canvas").bounding_box()
    assert box
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def on_view(page: Page, index: int) -> None:
    expect(page.locator("#slice-name")).to_have_text(f"Slice {index + 1} of {SLICES}")
    expect(page.locator("#slice-canvas")).to_have_attribute("data-slice", str(index))


def test_every_tool_draws_saves_and_is_undone(user: Visit, server: Server) -> None:
    page = user.page
    page.get_by_label("Annotator").fill("Ada")
    page.locator("#mosaic").press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    on_view(page, 3)
    page.keyboard.press("s")
    line(page, (0.45, 0.5), (0.5, 0.52), (0.55, 0.5))
    page.keyboard.press("2")
    page.keyboard.press("d")
    line(page, (0.4, 0.4))
    page.keyboard.press("b")
    line(page, (0.35, 0.35), (0.6, 0.65))
    page.keyboard.press("0")
    page.keyboard.press("s")
    line(page, (0.5, 0.2), (0.6, 0.2))
    page.keyboard.press("1")
    page.keyboard.press("r")
    line(page, (0.5, 0.6), (0.55, 0.6))
    page.keyboard.press("e")
    line(page, (0.5, 0.7), (0.55, 0.7))
    saved(page)
    found = drawn(server)
    assert [(each["tool"], each["label"], each["slice"]) for each in found] == [
        ("stroke", "tumor", 3),
        ("point", "edema", 3),
        ("box", "edema", 3),
        ("stroke", "background", 3),
        ("brush", "tumor", 3),
        ("brush", "background", 3),
    ]
    assert {each["annotator"] for each in found} == {"Ada"}
    # The phantom lies straight: to the right of the picture is to the left in the scan.
    middle = found[0]["points"][len(found[0]["points"]) // 2]
    assert middle == pytest.approx([31.5, 30], abs=4)
    user.picture("drawn")
    for left in range(5, -1, -1):
        page.keyboard.press("u")
        saved(page)
        assert len(drawn(server)) == left
    page.reload()
    expect(page.locator(".tile")).to_have_count(SLICES)


def test_copy_interpolate_erase_and_undo_across_scans(user: Visit, server: Server) -> None:
    page = user.page
    page.locator("#mosaic").press("Home")
    on_view(page, 0)
    page.keyboard.press("b")
    line(page, (0.4, 0.4), (0.5, 0.5))
    page.keyboard.press("k")
    on_view(page, 1)
    page.keyboard.press("End")
    on_view(page, 7)
    line(page, (0.5, 0.5), (0.6, 0.6))
    page.keyboard.press("i")
    saved(page)
    boxes = sorted(drawn(server), key=lambda each: each["slice"])
    assert [each["slice"] for each in boxes] == list(range(SLICES))
    firsts = np.array([np.min(each["points"], axis=0) for each in boxes])
    steps = np.diff(firsts[1:], axis=0)
    assert np.allclose(steps, steps[0], atol=0.02)
    user.picture("boxes filled in")
    page.keyboard.press("n")
    expect(page.locator("#scan-name")).to_have_text("head_1")
    for left in (3, 2, 1, 0):
        page.keyboard.press("u")
        expect(page.locator("#scan-name")).to_have_text("head_0")
        saved(page)
        assert len(drawn(server)) == left


def test_two_people_see_what_the_other_draws(user: Visit, browser: Browser, server: Server, tmp_path: Path) -> None:
    with visit(browser, f"{server.url}/annotate/#model={MODEL}&scan=head_1", tmp_path) as other:
        for page in (user.page, other.page):
            page.goto(f"{server.url}/annotate/#model={MODEL}&scan=head_1")
            expect(page.locator("#scan-name")).to_have_text("head_1")
            page.keyboard.press("s")
        line(other.page, (0.45, 0.5), (0.5, 0.5))
        label = user.page.locator("#slice-canvas")
        expect(label).to_have_attribute("aria-label", "Slice 1, 1 drawing, tool: stroke", timeout=30_000)
        line(user.page, (0.45, 0.6), (0.5, 0.6))
        saved(user.page)
        other.page.locator("#erase").click()
        expect(label).to_have_attribute("aria-label", "Slice 1, 0 drawings, tool: stroke", timeout=30_000)
    assert drawn(server, "head_1") == []


def test_look_zoom_window_and_fingers(user: Visit, server: Server) -> None:
    page = user.page
    box = page.locator("#slice-canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, 100)
    on_view(page, 1)
    before = page.locator("#slice-canvas").screenshot()
    page.keyboard.press("+")
    line(page, (0.5, 0.5), (0.6, 0.5))  # moves the slice
    assert page.locator("#slice-canvas").screenshot() != before
    page.keyboard.press("f")
    # A pen and a finger draw as the mouse does.
    for kind in ("pen", "touch"):
        page.keyboard.press("s")
        page.evaluate(_POINTER, [kind, box["width"] / 2, box["height"] / 2])
    saved(page)
    assert [each["tool"] for each in drawn(server)] == ["stroke", "stroke"]
    page.keyboard.press("u")
    page.keyboard.press("u")
    saved(page)
    assert drawn(server) == []


def test_a_scan_whose_first_slice_is_empty_is_not_shown_through_its_window(
    browser: Browser, server: Server, tmp_path: Path
) -> None:
    with labelling(browser, server.url, f"model={MODEL}&scan=padded", SLICES, tmp_path) as user:
        expect(user.page.locator("#slice-canvas")).to_have_attribute("data-loaded", f"{SLICES}")
        user.page.wait_for_timeout(300)  # a frame is drawn
        for canvas in ("cut-right", "cut-down"):
            black, white = user.page.evaluate(_ENDS, canvas)
            assert black > 0.1, "air"
            assert white < 0.2, "of the head little more than its bright parts"


_ENDS = """(id) => {
  const canvas = document.getElementById(id);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const greys = data.filter((_, at) => at % 4 === 0);
  const part = (test) => greys.filter(test).length / greys.length;
  return [part((grey) => grey < 8), part((grey) => grey > 247)];
}"""
"""Parts of a canvas that are black and white."""


def test_nothing_serious_stands_in_the_way_of_a_screen_reader(user: Visit) -> None:
    page = user.page
    page.keyboard.press("b")
    line(page, (0.4, 0.4), (0.5, 0.5))
    saved(page)
    found = Axe().run(page)["violations"]
    serious = [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found if _hinders(each)]
    assert serious == []
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    assert [each["id"] for each in Axe().run(page)["violations"] if _hinders(each)] == []
    assert user.low_contrast() == []
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    saved(page)


def _hinders(violation: dict[str, Any]) -> bool:
    return violation["impact"] in ("serious", "critical")


def test_tools_by_keyboard_alone(user: Visit) -> None:
    page = user.page
    page.locator("#tools [aria-checked=true]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tools [aria-checked=true]")).to_have_text(re.compile("^Stroke"))
    expect(page.locator("#tools [aria-checked=true]")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#tools [aria-checked=true]")).to_have_text(re.compile("^Eraser"))
    for key in ("0", "0", "w", "f", "v"):
        page.keyboard.press(key)
    expect(page.locator("#background")).to_have_attribute("aria-pressed", "true")  # pressed again it stays
    page.keyboard.press("1")
    expect(page.locator("#background")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#project")).to_have_text("studies")


_POINTER = """([kind, x, y]) => {
  const canvas = document.querySelector("#slice-canvas");
  canvas.setPointerCapture = () => {};
  const { left, top } = canvas.getBoundingClientRect();
  const fire = (type, right) => canvas.dispatchEvent(new PointerEvent(type, {
    bubbles: true, pointerId: 7, pointerType: kind, isPrimary: true, buttons: 1,
    button: type === "pointermove" ? -1 : 0, clientX: left + x + right, clientY: top + y,
  }));
  fire("pointerdown", 0);
  fire("pointermove", 20);
  fire("pointerup", 20);
}"""


_MANY_CLASSES = """() => {
  const classes = document.querySelector("#classes");
  for (let more = 0; more < 6; more++) classes.append(classes.lastChild.cloneNode(true));
}"""


@pytest.mark.parametrize("size", [(390, 844), (1024, 768), (3840, 2160)])
def test_from_a_phone_to_4k(user: Visit, size: tuple[int, int]) -> None:
    page = user.page
    page.evaluate(_MANY_CLASSES)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_timeout(300)
    user.picture(f"{size[0]} wide")
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    canvas = page.locator("#slice-canvas").bounding_box()
    assert canvas
    assert min(canvas["width"], canvas["height"]) >= 150


def test_what_the_model_says_of_a_scan_moves_no_slice(user: Visit) -> None:
    tile = user.page.locator(".tile").first
    before = tile.bounding_box()
    user.page.evaluate("document.querySelector('#fits').textContent = 'fits (p 0.692) · look at slices 10, 33, 24'")
    assert tile.bounding_box() == before
