"""Batch inference: many scans at a click.

MONAI Label starts a process for it, which writes its own, older, list of labels
over that of the server. This works in a thread of the server.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

from wsseg.errors import WssegError
from wsseg.server.compute import StoppingError
from wsseg.server.tasks.request import InferReply, InferRequest
from wsseg.server.viewers.monailabel import time_of

logger = logging.getLogger(__name__)

LINES = 20
"""Kept of what a batch tells."""

RUNS = 10
"""Batches that are remembered."""

Segment = Callable[[InferRequest], InferReply]


@dataclass
class Run:
    """One batch.

    Attributes:
        request: of all its scans.
        scans: their ids.
        keep: whether ``results`` are kept, which grow with the number of scans.
        results: per scan as :meth:`InferReply.facts` says it;
            ``detail`` says why there is none.
        state: in the words of MONAI Label: RUNNING, DONE, ERROR (nothing could be segmented) or STOPPED.
    """

    request: InferRequest
    scans: Sequence[str]
    keep: bool
    id: str = field(default_factory=lambda: str(uuid4()))
    started: datetime = field(default_factory=datetime.now)
    ended: datetime | None = None
    state: str = "RUNNING"
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: int = 0
    failed: int = 0
    details: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def task(self) -> dict[str, Any]:
        """As MONAI Label's clients read it."""
        known = {"id": self.id, "status": self.state, "request": self._asked(), "start_ts": time_of(self.started)}
        ended = {"end_ts": time_of(self.ended)} if self.ended else {}
        with self._telling:
            return {**known, **ended, "details": list(self.details)}

    def _asked(self) -> dict[str, Any]:
        return self.request.model_dump(mode="json", by_alias=True, exclude={"image", "device", "strokes"})

    def tell(self, scan: str, result: dict[str, Any]) -> None:
        """Count a scan's result, in the thread of any device."""
        with self._telling:
            self.stored += "detail" not in result
            self.failed += "detail" in result
            if self.keep:
                self.results[scan] = result
            done = self.stored + self.failed
            self.details.append(f"{done} of {len(self.scans)}: {scan}: {result.get('detail', 'stored')}")

    def end(self, stopped: bool) -> None:
        """Say how it ended."""
        with self._telling:
            self.details.append(f"{self.stored} of {len(self.scans)} scans were segmented, {self.failed} failed")
        self.state = "STOPPED" if stopped else "ERROR" if self.failed and not self.stored else "DONE"
        self.ended = datetime.now()


class Batch:
    """Segments scan after scan and stores the masks; one batch at a time.

    Args:
        segment: one scan, see :meth:`WssegApp.segment`.
    """

    def __init__(self, segment: Segment) -> None:
        self.runs: deque[Run] = deque(maxlen=RUNS)
        self._segment_one = segment
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def running(self) -> bool:
        """Whether a batch is being segmented."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, request: InferRequest, scans: Sequence[str], used: Sequence[str], keep: bool) -> Run | None:
        """Begin; None while another batch runs.

        Args:
            request: of every scan.
            scans: their ids.
            used: devices, each of which has one scan at a time.
            keep: see :class:`Run`.
        """
        with self._starting:
            if self.running():
                return None
            run = Run(request, scans, keep)
            self.runs.append(run)
            self._stopping.clear()
            self._thread = threading.Thread(target=self._segment, args=(run, used), name="batch")
            self._thread.start()
        return run

    def wait(self) -> None:
        """Return when no batch runs."""
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Go no further than the scans that are being segmented."""
        self._stopping.set()

    def _segment(self, run: Run, used: Sequence[str]) -> None:
        free: SimpleQueue[str] = SimpleQueue()
        for device in used:
            free.put(device)

        def on_a_free_device(scan: str) -> None:
            device = free.get()  # there is one, as there are no more threads than devices
            try:
                self._one(run, scan, device)
            finally:
                free.put(device)

        try:
            with ThreadPoolExecutor(len(used), "batch") as pool:
                list(pool.map(on_a_free_device, run.scans))
        finally:
            run.end(self._stopping.is_set())
            logger.info("batch: %s", run.details[-1])

    def _one(self, run: Run, scan: str, device: str) -> None:
        if self._stopping.is_set():
            return
        try:
            reply = self._segment_one(run.request.model_copy(update={"image": scan, "device": device}))
        except StoppingError:
            self.stop()
        except WssegError as error:
            run.tell(scan, {"detail": str(error)})
        except Exception:
            logger.exception("batch: a scan failed")
            run.tell(scan, {"detail": "the server failed on this scan, its log says where"})
        else:
            reply.file.unlink(missing_ok=True)
            run.tell(scan, reply.facts())
