"""The annotation page at human speed, in a headless Chromium on a live `wsseg serve` of this machine.

    python benchmarks/server/page.py [--only PART ...]

A click takes 150 ms and the hand moves 400 pixels a second. Parts, each a line
of the table that is printed:

- `strokes`: a stroke on each of four organs of one slice, until all is saved.
- `boxes`: a box on every fifth slice of 30, those between filled in, until all is saved.
- `refresh`: from the end of a stroke to the mask that respects it, 24 slices, warm, median of 30.
- `open`: a CT of 300 slices of 512 x 512: to the first picture, to all thumbnails; frames a second while scrolling.
- `kills`: two annotators send 200 drawings at once to one scan while the server is killed ten times.
- `weight`: bytes of all that the page loads but scans.

The model is a union network of the usual size with random weights: times do not
depend on what it learned. Scans are synthetic, on disk without compression.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import requests
import torch
from playwright.sync_api import Page, sync_playwright
from serving import free_port, serving

from wsseg.images.formats.nifti import write_nifti
from wsseg.labels.space import Code, Label
from wsseg.methods.registry import stored_weights
from wsseg.methods.union import Union, UnionSettings
from wsseg.models.package import Metadata, Recipe, write_package
from wsseg.models.shelf import publish

MODEL = "bench"
ORGANS = ("spleen", "liver", "left kidney", "right kidney")
CLICK_S, PIXELS_S = 0.15, 400.0
SCANS = {"organs": (256, 256, 30), "small": (256, 256, 24), "long": (512, 512, 300)}
KILLS, DRAWINGS = 10, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _prepare(home)
        for name in arguments.only:
            print(f"{name}: {PARTS[name](home)}", flush=True)


def _prepare(home: Path) -> None:
    """Scans of noise with bright organs, and a model."""
    (home / "studies").mkdir()
    for name, shape in SCANS.items():
        rows, columns = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
        plane = np.where(np.hypot(rows, columns) < 0.9, 40, -1000).astype(np.int16)
        noise = np.random.default_rng(0).integers(-20, 20, shape[:2], dtype=np.int16)
        voxels = np.stack([plane + np.roll(noise, index) for index in range(shape[2])], axis=2)
        write_nifti(home / "studies" / f"{name}.nii", voxels, np.diag([0.8, 0.8, 3.0, 1.0]))
    code = Code(scheme="SCT", value="123037004", meaning="Anatomical structure")
    colors = [(230, 80, 80), (80, 200, 120), (90, 140, 240), (230, 200, 80)]
    shown = {name: Label(color=color, category=code, type=code) for name, color in zip(ORGANS, colors, strict=True)}
    settings = UnionSettings()
    recipe = Recipe.model_validate(
        {
            **{"format": 2, "method": "union", "settings": settings.model_dump(mode="json"), "labels": shown},
            **{"size": 256, "modality": "CT", "licence": "Apache-2.0"},
        }
    )
    torch.manual_seed(0)
    network = Union(settings, len(ORGANS))
    metadata = Metadata(version="0.1", changelog={}, description="random", authors="wsseg", wsseg=recipe)
    write_package(home / "models" / MODEL / "0.1", metadata, stored_weights(network), "card", "licence")
    publish(home / "models", MODEL, "0.1")


@contextmanager
def _visit(home: Path, scan: str) -> Iterator[tuple[Page, Hand]]:
    """The page, with a scan on screen, and somebody's hand."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with serving(home, home / "studies", MODEL, home / "log") as (address, _), sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, chromium_sandbox=os.geteuid() != 0)
        page = browser.new_page(viewport={"width": 1500, "height": 920})
        page.set_default_timeout(120_000)
        page.goto(f"{address}/annotate/#model={MODEL}&scan={scan}")
        page.locator("#slice-0").wait_for()
        page.locator("#slice-canvas[data-slice='0']").wait_for()
        yield page, Hand(page)
        browser.close()


class Hand:
    """Mouse and keys as slow as a person's."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.at = (700.0, 400.0)

    def go(self, x: float, y: float) -> None:
        """Move to a part of the width and height of the slice."""
        box = self.page.locator("#slice-canvas").bounding_box()
        assert box
        there = (box["x"] + x * box["width"], box["y"] + y * box["height"])
        way = float(np.hypot(there[0] - self.at[0], there[1] - self.at[1]))
        begun, steps = time.monotonic(), max(1, round(way / 20))
        for step in range(1, steps + 1):
            part = step / steps
            self.page.mouse.move(*(a + part * (b - a) for a, b in zip(self.at, there, strict=True)))
            time.sleep(max(0.0, begun + part * way / PIXELS_S - time.monotonic()))
        self.at = there

    def drag(self, *places: tuple[float, float]) -> None:
        """Press, move along, release."""
        self.go(*places[0])
        self.page.mouse.down()
        time.sleep(CLICK_S)
        for place in places[1:]:
            self.go(*place)
        self.page.mouse.up()

    def press(self, key: str) -> None:
        """A key, as long as a click."""
        self.page.keyboard.press(key)
        time.sleep(CLICK_S)

    def saved(self) -> None:
        """Wait until the server has all."""
        self.page.locator("#saved[data-state=saved]").wait_for()


def _strokes(home: Path) -> str:
    with _visit(home, "organs") as (_, hand):
        begun = time.monotonic()
        hand.press("s")
        for place, (x, y) in enumerate([(0.35, 0.4), (0.6, 0.4), (0.35, 0.65), (0.6, 0.65)]):
            hand.press(str(place + 1))
            hand.drag((x, y), (x + 0.06, y + 0.02), (x + 0.1, y))
        hand.saved()
        return f"{time.monotonic() - begun:.1f} s for four organs (to reach: 12 s)"


def _boxes(home: Path) -> str:
    with _visit(home, "organs") as (_, hand):
        begun = time.monotonic()
        hand.press("1")
        hand.press("b")
        for index in range(0, 30, 5):
            for _ in range(5 if index else 0):
                hand.press("ArrowRight")
            hand.drag((0.4 - index / 300, 0.4), (0.6, 0.6 + index / 300))
        hand.press("i")
        hand.saved()
        return f"{time.monotonic() - begun:.1f} s for 30 slices (to reach: 40 s)"


def _refresh(home: Path) -> str:
    seconds = []
    with _visit(home, "small") as (page, hand):
        hand.press("s")
        for index in range(31):
            x, y = 0.3 + 0.4 * (index % 6) / 6, 0.3 + 0.4 * (index // 6) / 6
            with page.expect_response(lambda reply: "/mask?" in reply.url) as found:
                hand.drag((x, y), (x + 0.03, y + 0.01))
                begun = time.monotonic()
            found.value.finished()
            seconds.append(time.monotonic() - begun)
            hand.saved()
    return f"{statistics.median(seconds[1:]):.2f} s, at most {max(seconds[1:]):.2f} s (to reach: 2 s)"


_SCROLL = """() => new Promise((done) => {
  const canvas = document.querySelector("#slice-canvas");
  const begun = performance.now();
  let [frames, shown, last, way] = [0, 0, "", 1];
  const next = (now) => {
    if (canvas.dataset.slice !== last) { last = canvas.dataset.slice; if (last !== "") shown++; }
    frames++;
    if (Number(last) > 290) way = -1;
    if (Number(last) < 5) way = 1;
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: 100 * way, bubbles: true, cancelable: true }));
    if (now - begun < 4000) requestAnimationFrame(next);
    else done([frames / 4, shown / 4]);
  };
  requestAnimationFrame(next);
})"""


def _open(home: Path) -> str:
    with _visit(home, "small") as (page, _):
        begun = time.monotonic()
        page.locator("#scans li", has_text="long").click()
        page.locator("#slice-canvas[data-scan=long][data-slice='0']").wait_for()
        first = time.monotonic() - begun
        page.locator("#slice-299").wait_for(state="attached")
        thumbnails = time.monotonic() - begun
        page.locator("#slice-canvas[data-loaded='300']").wait_for()
        all_there = time.monotonic() - begun
        frames, shown = page.evaluate(_SCROLL)
    return (
        f"first picture {first:.2f} s (to reach: 1 s), thumbnails {thumbnails:.1f} s (5 s),"
        f" all slices {all_there:.1f} s, scrolling {frames:.0f} frames and {shown:.0f} new slices a second (50)"
    )


def _kills(home: Path) -> str:
    port = free_port()
    address, acknowledged, stop = f"http://127.0.0.1:{port}", set[str](), threading.Event()
    path = f"{address}/annotate/api/scans/small/drawings?model={MODEL}"

    def annotate(who: str) -> None:
        for _ in range(DRAWINGS // 2):
            id = uuid4().hex
            drawing: dict[str, Any] = {"id": id, "tool": "point", "label": "liver", "slice": 3, "points": [[9, 9]]}
            while not stop.is_set():
                try:
                    body: dict[str, Any] = {"drawings": [drawing], "annotator": who}
                    if requests.post(path, json=body, timeout=30).ok:
                        acknowledged.add(id)
                        break
                except requests.RequestException:
                    time.sleep(0.1)
            time.sleep(0.05)

    people = [threading.Thread(target=annotate, args=(who,)) for who in ("Ada", "Bo")]
    for index in range(KILLS):
        with serving(home, home / "studies", MODEL, home / "log", port) as (_, process):
            if not index:
                for person in people:
                    person.start()
            time.sleep(1)
            process.send_signal(signal.SIGKILL)
    with serving(home, home / "studies", MODEL, home / "log", port):
        for person in people:
            person.join(300)
        stop.set()
        found = requests.get(path, timeout=60).json()["drawings"]
    kept = {each["id"] for each in found}
    lost, seen = acknowledged - kept, {each["annotator"] for each in found}
    return (
        f"{len(acknowledged)} acknowledged of {DRAWINGS}, {len(lost)} lost, {len(kept)} there,"
        f" of {' and '.join(sorted(seen))}; {KILLS} kills (to reach: none lost)"
    )


def _weight(home: Path) -> str:
    with _visit(home, "small") as (page, _):
        address = page.url.partition("/annotate")[0]
        asked = page.evaluate(
            "performance.getEntriesByType('resource').map((each) => [each.name, each.decodedBodySize])"
        )
        own = sum(size for name, size in asked if name.startswith(f"{address}/annotate/") and "/api/" not in name)
        outside = [name for name, _ in asked if not name.startswith(address)]
    return f"{own / 1e6:.2f} MB, {len(outside)} requests to elsewhere (to reach: 1.5 MB, none)"


PARTS: dict[str, Callable[[Path], str]] = {
    "strokes": _strokes,
    "boxes": _boxes,
    "refresh": _refresh,
    "open": _open,
    "kills": _kills,
    "weight": _weight,
}


if __name__ == "__main__":
    main()
