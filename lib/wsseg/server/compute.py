"""Loaded models, and the one thread per device that uses them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

import torch

from wsseg.errors import UnavailableError, WssegError
from wsseg.images.volume import Volume
from wsseg.inference.active import ScanSummary
from wsseg.inference.quality.fits import Fits
from wsseg.inference.result import Segmentation
from wsseg.inference.segmenter import Seen, Segmenter
from wsseg.labels.drawn.render import Rendered
from wsseg.labels.space import Presence
from wsseg.models.shelf import find_package
from wsseg.server.operations import metrics

logger = logging.getLogger(__name__)


SEEN = 2
"""Answers of networks to scans that are kept, for what is drawn on these next."""


class StoppingError(UnavailableError):
    """The server is being stopped."""


def devices() -> list[str]:
    """What a viewer may choose from; the first is the default."""
    return [*(f"cuda:{index}" for index in range(torch.cuda.device_count())), "cpu"]


class Compute:
    """Segments scans, one at a time on each device, with models kept in memory.

    Every device has a thread of its own: however many requests arrive at once,
    one scan's activations are in memory and one set of torch's worker threads
    is busy. A model published meanwhile is used from the next scan on.
    """

    def __init__(self) -> None:
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._creating = threading.Lock()
        self._loaded: dict[tuple[str, str], Segmenter] = {}
        self._seen: OrderedDict[Hashable, Seen] = OrderedDict()
        self._stopping = False

    def segment(
        self,
        model: str,
        device: str,
        scan: Volume,
        presence: Presence | None,
        text: str = "",
        force: bool = False,
    ) -> tuple[str, Segmentation]:
        """Segment one scan, after those that came before it.

        Returns:
            the version of the model that did it, and what it found.

        Raises:
            StoppingError: the server was stopped meanwhile.
        """

        def run() -> tuple[str, Segmentation]:
            self._go_on(0.0)
            segmenter = self._segmenter(model, device)
            version = segmenter.package.metadata.version
            with metrics.computed(model, version):
                return version, segmenter(scan, presence, progress=self._go_on, text=text, force=force)

        with metrics.queued(device):
            return self._thread(device).submit(run).result()

    def respect(
        self,
        model: str,
        device: str,
        name: Hashable,
        scan: Callable[[], Volume],
        drawn: Rendered,
        text: str = "",
        presence: Presence | None = None,
        marked: Presence | None = None,
        force: bool = False,
    ) -> tuple[str, Segmentation]:
        """:meth:`segment` with what is drawn on a scan; the network sees each once, however much is drawn.

        Args:
            name: of the scan and its state.
            scan: reads it, where the network has not seen it yet.
            drawn: on the scan.
            text, presence, force: as for :meth:`segment`.
            marked: presence that is not told to the network, see :meth:`Segmenter.decide`.
        """

        def run() -> tuple[str, Segmentation]:
            self._go_on(0.0)
            segmenter = self._segmenter(model, device)
            known = None if presence is None else presence.tobytes()
            key = (segmenter.package.folder, device, name, text, known, force)
            if key not in self._seen:
                self._seen[key] = segmenter.see(scan(), presence, progress=self._go_on, text=text, force=force)
                while len(self._seen) > SEEN:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(key)
            return segmenter.package.metadata.version, segmenter.decide(self._seen[key], drawn, marked)

        return self._thread(device).submit(run).result()

    def summarize(self, model: str, device: str, scan: Volume, mask: bool) -> tuple[str, ScanSummary]:
        """The version in use and what it says of a scan, see :meth:`Segmenter.summarize`.

        Raises:
            StoppingError: the server was stopped meanwhile.
        """

        def run() -> tuple[str, ScanSummary]:
            self._go_on(0.0)
            segmenter = self._segmenter(model, device)
            return segmenter.package.metadata.version, segmenter.summarize(scan, mask)

        return self._thread(device).submit(run).result()

    def fits(self, model: str, device: str, scan: Volume) -> Fits | None:
        """Whether a scan fits a model, see :meth:`Segmenter.fits`.

        Raises:
            StoppingError: the server was stopped meanwhile.
        """

        def run() -> Fits | None:
            self._go_on(0.0)
            return self._segmenter(model, device).fits(scan)

        return self._thread(device).submit(run).result()

    def load(self, model: str, device: str) -> None:
        """Read a model into memory, in the background, before the first scan asks for it."""

        def read() -> None:
            try:
                self._segmenter(model, device)
            except WssegError as error:
                logger.warning("cannot be used: %s", error)

        self._thread(device).submit(read)

    def stop(self) -> None:
        """Give up what is being computed; without this, Ctrl-C would wait for it."""
        self._stopping = True

    def _go_on(self, part: float) -> None:
        if self._stopping:
            raise StoppingError("the server is being stopped")

    def _thread(self, device: str) -> ThreadPoolExecutor:
        with self._creating:
            if device not in self._threads:
                self._threads[device] = ThreadPoolExecutor(1, f"compute-{device}")
            return self._threads[device]

    def _segmenter(self, model: str, device: str) -> Segmenter:
        """Called in the device's own thread only."""
        held = self._loaded.get((model, device))
        # Versions are immutable folders: another folder is another version.
        if held is None or held.package.folder != find_package(model).folder:
            held = Segmenter(model, device)
            self._loaded[model, device] = held
            logger.info("loaded %s %s on %s", model, held.package.metadata.version, device)
        return held
