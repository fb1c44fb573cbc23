"""What people mark in a real browser is stored, or told as not stored: offline, refused, closed, 300 at once."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
from browser import Visit
from live import Server
from marking import LONG, MODEL, SLICES, go_to, marking_server, marking_user, saved, stored, tile
from playwright.sync_api import Route, expect

__all__ = ["marking_server", "marking_user"]  # fixtures

FRAME_MS = 1000 / 60


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


@pytest.mark.alone
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
