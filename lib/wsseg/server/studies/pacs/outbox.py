"""Results on their way to the archive: on disk until it has them."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from uuid import uuid4

from wsseg.errors import UnavailableError, WssegError
from wsseg.files import make_folder
from wsseg.server.studies.pacs.client import Pacs

logger = logging.getLogger(__name__)

PAUSES = (5.0, 600.0)
"""Seconds between two attempts to send what waits: at first, and at most."""


class Outbox:
    """A folder of DICOM files, which are sent again and again, after a restart too.

    A file keeps its SOPInstanceUID, so it is in the archive once however often it is sent.

    Args:
        folder: is made.
        pacs: where they go.
    """

    def __init__(self, folder: Path, pacs: Pacs) -> None:
        self._folder = folder
        self._pacs = pacs
        self._sender: threading.Thread | None = None
        self._starting = threading.Lock()
        make_folder(folder)
        if self._waiting():
            self._keep_sending()

    def new(self) -> Path:
        """A name for a file to be written."""
        return self._folder / f"{uuid4().hex}.dcm"

    def send(self, file: Path) -> None:
        """Send a file of the folder.

        Raises:
            UnavailableError: the archive does not take it now.
        """
        try:
            self._send(file)
        except UnavailableError as error:
            self._keep_sending()
            raise UnavailableError(f"{error}; the mask is kept and will be sent, do not send it again") from error

    def _send(self, file: Path) -> None:
        self._pacs.store(file)
        file.unlink(missing_ok=True)

    def _waiting(self) -> list[Path]:
        return sorted(self._folder.glob("*.dcm"))

    def _keep_sending(self) -> None:
        with self._starting:
            if self._sender is None or not self._sender.is_alive():
                self._sender = threading.Thread(target=self._until_empty, daemon=True)
                self._sender.start()

    def _until_empty(self) -> None:
        pause, longest = PAUSES
        while waiting := self._waiting():
            time.sleep(pause)
            pause = min(2 * pause, longest)
            for file in waiting:
                try:
                    self._send(file)
                    logger.info("sent a mask that had waited")
                except (WssegError, OSError) as error:
                    logger.warning("a mask waits to be sent: %s", error)
