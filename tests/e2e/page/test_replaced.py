"""A scan that is replaced under its name while somebody labels it: over REST, and on the page in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from browser import Visit, visit
from live import SERVE, Server, running, write_scan
from playwright.sync_api import Browser, Page, Route, expect

from conftest import small_package
from wsseg.models.shelf import publish

MODEL = "desk"
SHAPE = (40, 44, 6)


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replaced") / "studies"
    folder.mkdir()
    for name in ("rest", "clicked", "typed", "polled", "left", "asked"):
        write_scan(folder / f"{name}.nii.gz", SHAPE)
    return folder


@pytest.fixture(scope="module")
def server(studies: Path) -> Iterator[Server]:
    home = studies.parent / "home"
    small_package(home / "models" / MODEL / "0.1", "union", ("tumor",))
    publish(home / "models", MODEL, "0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_HOME", str(home))
        with running((*SERVE, "--studies", str(studies), "--models", MODEL), studies.parent / "log") as server:
            yield server


def replace(studies: Path, name: str) -> None:
    """Put another scan in the place of one, whole at once."""
    write_scan(studies / "new.part.nii.gz", SHAPE, seed=1)
    (studies / "new.part.nii.gz").rename(studies / f"{name}.nii.gz")


def seen(server: Server, scan: str) -> dict[str, Any]:
    found: dict[str, Any] = server.ask(f"/annotate/api/scans/{scan}?model={MODEL}").json
    return found


def test_no_write_lands_on_another_scan_than_the_one_that_was_opened(server: Server, studies: Path) -> None:
    def ask(method: str, path: str, body: dict[str, Any], content: str | None) -> requests.Response:
        asked = {"model": MODEL} | ({} if content is None else {"content": content})
        url = f"{server.url}/annotate/api/{path}"
        return requests.request(method, url, json={**body, "annotator": "ada"}, params=asked, timeout=60)

    drawn = {"tool": "stroke", "label": "tumor", "slice": 2, "points": [[10, 10], [14, 12]]}
    writes: list[Callable[[str | None], requests.Response]] = [
        lambda c: ask("PUT", "scans/rest/presence", {"label": "tumor", "marks": [{"slice": 1, "state": 1}]}, c),
        lambda c: ask("PUT", "scans/rest/text", {"text": f"A {uuid4()}."}, c),
        lambda c: ask("POST", "scans/rest/drawings", {"drawings": [{**drawn, "id": str(uuid4())}]}, c),
        lambda c: ask("POST", "scans/rest/erase", {"slice": 2}, c),
    ]
    first = seen(server, "rest")["content"]
    for write in writes:
        reply = write(first)
        assert reply.status_code == 200, reply.text
    last = reply.json()["revision"]
    replace(studies, "rest")
    before = seen(server, "rest")
    assert before["content"] != first
    for write in [*writes, lambda c: ask("POST", "undo", {"revision": last}, c)]:
        reply = write(first)
        assert (reply.status_code, "another scan has this name now" in reply.text) == (409, True), reply.text
    assert seen(server, "rest") == before
    polled = ask("GET", "scans/rest/drawings", {}, first)
    assert polled.status_code == 409
    for content in (None, before["content"]):  # whoever opened nothing means what is there
        for write in writes:
            assert write(content).status_code == 200
    assert ask("PUT", "scans/rest/text", {"text": "x"}, "not-a-hash").status_code == 422


@pytest.fixture(scope="module")
def windows(browser: Browser, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    folder = tmp_path_factory.mktemp("screenshots")
    return lambda scan: visit(browser, f"{server.url}/annotate/#model={MODEL}&scan={scan}", folder)


def opened(user: Visit, scan: str) -> Page:
    page = user.page
    expect(page.locator("#scan-name")).to_have_text(scan)
    expect(page.locator(".tile")).to_have_count(SHAPE[2])
    page.get_by_label("Annotator").fill("Ada")
    return page


def still(page: Page) -> None:
    """No look at what others do, so that a write is the first to learn of it."""
    page.route("**/drawings?*", lambda route: route.abort() if route.request.method == "GET" else route.continue_())


def test_the_page_says_so_lists_what_is_lost_and_opens_the_new_scan(
    server: Server, studies: Path, windows: Callable[[str], Any]
) -> None:
    with windows("clicked") as user:
        page = opened(user, "clicked")
        still(page)
        tiles, saved = page.locator(".tile"), page.locator("#saved")
        tiles.nth(0).click()
        expect(saved).to_have_text("Saved")
        held: list[Route] = []
        page.route("**/presence?*", lambda route: held.append(route))  # on their way while it is replaced
        tiles.nth(2).click()
        tiles.nth(3).click()
        expect(saved).to_have_text("Saving…")
        while not held:
            page.wait_for_timeout(20)
        replace(studies, "clicked")
        page.unroute("**/presence?*")
        held[0].continue_()
        dialog = page.locator("#replaced")
        expect(dialog).to_be_visible()
        expect(dialog).to_contain_text("another scan has this name now")
        expect(dialog.locator("li")).to_have_text(["tumor, slice 3: shows it", "tumor, slice 4: shows it"])
        assert user.low_contrast() == []
        expect(saved).to_have_text("Saved")  # nothing waits, so nothing is tried again
        asked = len(user.asked)
        page.wait_for_timeout(1500)
        assert not [url for url in user.asked[asked:] if "presence" in url]
        assert seen(server, "clicked")["presence"]["tumor"] == [None] * SHAPE[2]
        page.get_by_role("button", name="Open the new scan").click()
        expect(dialog).to_be_hidden()
        expect(page.locator("#why")).to_contain_text("another scan than the one that was labelled")
        expect(page.locator("#undo")).to_be_disabled()
        for index in range(SHAPE[2]):
            expect(tiles.nth(index)).to_have_attribute("data-state", "null")
        tiles.nth(5).click()
        expect(saved).to_have_text("Saved")
        assert seen(server, "clicked")["presence"]["tumor"] == [None] * 5 + [1]
        assert user.errors == []


def test_undo_and_a_sentence_are_told_too(server: Server, studies: Path, windows: Callable[[str], Any]) -> None:
    with windows("typed") as user:
        page = opened(user, "typed")
        still(page)
        page.locator(".tile").nth(1).click()
        expect(page.locator("#saved")).to_have_text("Saved")
        replace(studies, "typed")
        page.locator("#mosaic").press("u")
        dialog = page.locator("#replaced")
        expect(dialog.locator("li")).to_have_text(["undo"])
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        page.locator("#text").fill("A mass.")
        expect(dialog.locator("li")).to_have_text(["sentence: A mass."])
        page.get_by_role("button", name="Open the new scan").click()
        expect(page.locator("#text")).to_have_value("")
        assert seen(server, "typed")["text"] == ""
        assert user.errors == []


def test_the_page_learns_of_it_by_itself_once(studies: Path, windows: Callable[[str], Any]) -> None:
    with windows("polled") as user:
        page = opened(user, "polled")
        replace(studies, "polled")
        dialog = page.locator("#replaced")
        expect(dialog).to_be_visible()
        expect(page.locator("#replaced-kept")).to_be_hidden()
        page.keyboard.press("Escape")
        page.wait_for_timeout(5000)
        expect(dialog).to_be_hidden()
        assert user.errors == []


def test_no_mask_of_the_new_scan_lies_on_the_old_slices(
    server: Server, studies: Path, windows: Callable[[str], Any]
) -> None:
    with windows("asked") as user:
        page = opened(user, "asked")
        still(page)
        first = seen(server, "asked")["content"]
        replace(studies, "asked")
        for path, method in (("prediction", "POST"), ("planes", "GET")):
            reply = server.ask(f"/annotate/api/scans/asked/{path}?model={MODEL}&first=0&content={first}", method)
            assert (reply.status, "another scan has this name now" in reply.detail) == (409, True)
        page.locator("#overlay").click()
        expect(page.locator("#replaced")).to_be_visible()
        expect(page.locator("body.overlaid")).to_have_count(0)
        page.get_by_role("button", name="Open the new scan").click()
        expect(page.locator("body.overlaid")).to_have_count(1)
        assert user.errors == []


def test_what_was_drawn_before_leaving_is_not_shown_on_the_new_scan(
    server: Server, studies: Path, windows: Callable[[str], Any]
) -> None:
    with windows("left") as user:
        page = opened(user, "left")
        page.locator(".tile").nth(4).click()
        expect(page.locator("#saved")).to_have_text("Saved")
        page.locator("#scans li", has_text="rest").click()
        expect(page.locator("#scan-name")).to_have_text("rest")
        replace(studies, "left")
        page.locator("#scans li", has_text="left").click()
        expect(page.locator("#scan-name")).to_have_text("left")
        expect(page.locator(".tile").nth(4)).to_have_attribute("data-state", "null")
        expect(page.locator("#undo")).to_be_disabled()
        page.keyboard.press("u")
        page.wait_for_timeout(300)
        expect(page.locator("#replaced")).to_be_hidden()
        assert user.errors == []
