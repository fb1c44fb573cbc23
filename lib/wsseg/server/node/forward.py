"""From what was sent to results on their way: series by series, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from wsseg.archive.destination import Destination, deliver
from wsseg.archive.web.replies import RefusedError
from wsseg.errors import FullError, UnavailableError, WssegError
from wsseg.images.dicom.series import read_series
from wsseg.images.scan import check_scan
from wsseg.models.shelf import find_package
from wsseg.server.compute import Compute, devices
from wsseg.server.node.choice import choose_model
from wsseg.server.node.inbox import Inbox
from wsseg.server.node.rules import Rules
from wsseg.server.security.request_log import nameless

logger = logging.getLogger(__name__)

PAUSES = (1.0, 600.0)
"""Seconds between two looks into the inbox, and at most while the destination does not answer."""


class Forwarder:
    """Segments what is in the inbox and sends the results on.

    Args:
        inbox: of series.
        rules: which models may segment.
        compute: shared with all that segments.
        destination: where results go.
    """

    def __init__(self, inbox: Inbox, rules: Rules, compute: Compute, destination: Destination) -> None:
        self._inbox = inbox
        self._rules = rules
        self._compute = compute
        self._destination = destination
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Go no further than the series that is being segmented."""
        self._stopping.set()

    def _run(self) -> None:
        pause, longest = PAUSES
        while not self._stopping.wait(pause):
            pause = PAUSES[0] if all(map(self._forward, self._inbox.whole())) else min(2 * pause, longest)

    def _forward(self, folder: Path) -> bool:
        """One series; False where it has to wait for its destination."""
        if self._stopping.is_set():
            return True
        try:
            self._segment(folder)
        except (UnavailableError, FullError) as error:
            if not isinstance(error, RefusedError):
                logger.warning("a result waits to be sent: %s", nameless(error, folder.name))
                return False
            self._inbox.fail(folder, str(error))
        except Exception as error:  # whatever a library makes of a series, the next one is segmented
            why = str(error) if isinstance(error, WssegError) else f"cannot be segmented ({type(error).__name__})"
            logger.warning("a series that was sent is put aside: %s", nameless(WssegError(why), folder.name))
            self._inbox.fail(folder, why)
        else:
            self._inbox.done(folder)
        return True

    def _segment(self, folder: Path) -> None:
        scan = read_series(folder)
        check_scan(scan.volume, folder.name)
        device = devices()[0]
        model = choose_model(self._rules, self._compute, device, scan)
        version, result = self._compute.segment(model, device, scan.volume, None)
        package = find_package(model)
        if package.metadata.version != version:  # published meanwhile: the next look does it with that
            raise UnavailableError(f"{model} was published while it segmented")
        deliver(self._destination, result, scan, package)
        logger.info("a series that was sent was segmented with %s %s", model, version)
