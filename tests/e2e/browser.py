"""A real Chromium without a window, and what a visit to a page leaves behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
WINDOW = {"width": 1500, "height": 920}
PATIENCE_MS = 30_000

# All text here is small, so it needs 4.5 : 1; that of controls that are off needs nothing.
_LOW_CONTRAST = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parts(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!words || !element.checkVisibility() || element.closest(":disabled, .tile")) continue;
    const [a, b] = [parts(getComputedStyle(element).color), behind(element)].map(light).sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


def find_chromium() -> str:
    """Its program; where it must be there, its absence fails."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    reason = "there is no Chromium, on Debian: apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def chromium(*switches: str) -> Iterator[Browser]:
    """The browser, ended at the end; its own sandbox refuses to start as root."""
    program = find_chromium()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, chromium_sandbox=os.geteuid() != 0, args=list(switches))
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For all tests of a module that imports it."""
    with chromium() as browser:
        yield browser


@dataclass
class Visit:
    """One user's window.

    Attributes:
        page: what is in it.
        screenshots: folder for pictures of it.
        asked: addresses of all requests.
        errors: what scripts failed with, and requests that a server failed on.
    """

    page: Page
    screenshots: Path
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def picture(self, name: str) -> None:
        """Keep what is on screen."""
        self.page.screenshot(path=self.screenshots / f"{name}.png")

    def low_contrast(self) -> list[str]:
        """Words that do not stand out enough for WCAG AA."""
        found: list[str] = self.page.evaluate(_LOW_CONTRAST)
        return found


@contextmanager
def visit(browser: Browser, address: str, screenshots: Path) -> Iterator[Visit]:
    """Open an address in a window that knows nothing of earlier ones."""
    with browser.new_context(viewport=WINDOW, reduced_motion="reduce") as context:
        context.set_default_timeout(PATIENCE_MS)
        made = Visit(context.new_page(), screenshots)

        def answered(response: Response) -> None:
            if response.status >= 500:
                made.errors.append(f"{response.status} {response.url}")

        made.page.on("request", lambda request: made.asked.append(request.url))
        made.page.on("response", answered)
        made.page.on("pageerror", lambda error: made.errors.append(str(error)))
        made.page.goto(address)
        yield made


@contextmanager
def labelling(browser: Browser, server: str, place: str, tiles: int, pictures: Path) -> Iterator[Visit]:
    """The annotation page once its slices are there; all it asks for goes to its server and is answered.

    Args:
        server: its address.
        place: what stands behind ``#``.
        tiles: how many slices there are.
        pictures: folder for them, unless ``WSSEG_SCREENSHOTS`` names another.
    """
    screenshots = Path(os.environ.get("WSSEG_SCREENSHOTS", pictures))
    screenshots.mkdir(parents=True, exist_ok=True)
    with visit(browser, f"{server}/annotate/#{place}", screenshots) as user:
        expect(user.page.locator(".tile")).to_have_count(tiles)
        yield user
        assert [url for url in user.asked if not url.startswith((server, "data:", "blob:"))] == []
        assert user.errors == []
