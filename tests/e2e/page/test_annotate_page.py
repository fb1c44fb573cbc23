"""The annotation page in a real browser on a live server: label, train, next case, better model."""

from __future__ import annotations

import re

from browser import Visit
from live import Server
from marking import MODEL, SLICES, drag, go_to, in_use, marking_server, marking_user, saved, stored, tile
from playwright.sync_api import Page, expect

TRAINED = re.compile(r"is (kept but not )?in use")


__all__ = ["marking_server", "marking_user"]  # fixtures


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
    for _ in range(40):  # newer browsers begin behind what last had the focus, not at the top
        if page.locator(".skip:focus").count():
            break
        press("Shift+Tab")
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


def test_marks_refresh_the_mask_that_is_shown_and_show_none_that_is_not(user: Visit) -> None:
    """Of clicks in a row the model is asked once."""
    page, asked = user.page, []
    go_to(page, "keyed")
    page.on("request", lambda request: asked.append(request.url) if "/prediction" in request.url else None)
    tile(page, 1).click()
    saved(page)
    page.wait_for_timeout(1000)
    assert asked == []
    page.locator("#overlay").click()
    expect(page.locator("body")).to_have_class("overlaid")
    with page.expect_response("**/overlay?**"):
        for index in (2, 3, 4):
            tile(page, index).click()
    saved(page)
    page.wait_for_timeout(1000)
    assert 2 <= len(asked) <= 3, "once for the button, once or twice for three clicks"
