"""Results on their way to the archive: on disk before anything else, until it has them."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel

from wsseg.archive.web.client import Pacs
from wsseg.errors import WssegError
from wsseg.files import PART, held, make_folder, sweep, unwritable, whole_file
from wsseg.server.studies.case_files import extension_of
from wsseg.server.studies.index import Info
from wsseg.server.studies.store import KeptError

logger = logging.getLogger(__name__)

PAUSES = (5.0, 600.0)
"""Seconds between two attempts to send what waits: at first, and at most."""


class Submission(BaseModel):
    """What somebody said of a mask that they finished.

    Attributes:
        image: SeriesInstanceUID of the scan.
        info: see :meth:`ScanStore.save_label`.
    """

    image: str
    info: Info


@dataclass(frozen=True)
class Item:
    """A folder with one submitted mask.

    It holds ``submitted.json`` and ``mask.<extension>``, ``seg.dcm`` as soon as
    that could be written of them, and ``why.txt`` where it could not be sent.
    """

    folder: Path

    @property
    def submission(self) -> Submission:
        """What was said of it."""
        return Submission.model_validate_json((self.folder / "submitted.json").read_text("utf-8"))

    @property
    def mask(self) -> Path:
        """As it was submitted."""
        return next(self.folder.glob("mask.*"))

    @property
    def seg(self) -> Path:
        """As the archive gets it; its SOPInstanceUID makes that it is there once, however often it is sent."""
        return self.folder / "seg.dcm"


class Outbox:
    """Submitted masks, which are sent again and again, after a restart too.

    Args:
        folder: is made.
        pacs: where they go.
        write_seg: writes an item's ``seg``.
    """

    def __init__(self, folder: Path, pacs: Pacs, write_seg: Callable[[Item], None]) -> None:
        self._folder = folder
        self._pacs = pacs
        self._write_seg = write_seg
        self._sender: threading.Thread | None = None
        self._starting = threading.Lock()
        self._sending = threading.Lock()
        make_folder(folder)
        sweep(folder, f"{PART}*")
        self._take_over()
        if self._waiting():
            self._keep_sending()

    def keep(self, mask: Path, submission: Submission) -> Item:
        """Put a mask on disk, whole or not at all.

        Raises:
            WssegError: there is no room.
        """
        item = Item(self._folder / uuid4().hex)
        draft = self._folder / f"{PART}{item.folder.name}"
        try:
            draft.mkdir()
            with held(draft):
                shutil.copyfile(mask, draft / f"mask{extension_of(mask)}")
                with whole_file(draft / "submitted.json") as part:
                    part.write_text(submission.model_dump_json(), encoding="utf-8")
                draft.rename(item.folder)
        except OSError as error:
            raise unwritable(self._folder / mask.name, error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return item

    def send(self, item: Item) -> None:
        """Send what was kept.

        Raises:
            KeptError: it cannot be written as DICOM SEG, or the archive does not take it now.
        """
        try:
            self._send(item)
        except Exception as error:
            self._keep_sending()
            why = self._note(item, error)
            raise KeptError(f"{why}; the mask is kept and will be sent, do not send it again") from error

    def drop(self, item: Item) -> None:
        """Forget an item."""
        draft = self._folder / f"{PART}{item.folder.name}"
        item.folder.rename(draft)  # nobody takes what is left of it for another item
        shutil.rmtree(draft, ignore_errors=True)

    def _send(self, item: Item) -> None:
        """Send an item, unless it was sent meanwhile, or another server does so now."""
        with self._sending:
            if item.folder.exists():
                self._send_ours(item)

    def _send_ours(self, item: Item) -> None:
        with held(item.folder) as ours:
            if not ours:
                return
            if not item.seg.exists():
                self._write_seg(item)
            self._pacs.store(item.seg)
            self.drop(item)
            logger.info("a mask was sent")

    def _note(self, item: Item, error: Exception) -> str:
        """Keep with the mask why it was not sent, and log that only once."""
        why = _sentence(error)
        note = item.folder / "why.txt"
        try:
            if not note.exists() or note.read_text("utf-8") != why:
                with whole_file(note) as part:
                    part.write_text(why, encoding="utf-8")
                logger.warning("a mask waits to be sent: %s", why.replace(_image_of(item), "*"))
        except (OSError, WssegError):
            logger.warning("a mask waits to be sent, and there is no room to note why")
        return why

    def _take_over(self) -> None:
        """Files that an earlier version left to be sent become items."""
        for file in self._folder.glob("[!.]*.dcm"):
            item = Item(file.with_suffix(""))
            make_folder(item.folder)
            file.replace(item.seg)

    def _waiting(self) -> list[Item]:
        return [Item(folder) for folder in sorted(self._folder.glob("[!.]*")) if folder.is_dir()]

    def _keep_sending(self) -> None:
        with self._starting:
            if self._sender is None or not self._sender.is_alive():
                self._sender = threading.Thread(target=self._until_empty, daemon=True)
                self._sender.start()

    def _until_empty(self) -> None:
        pause, longest = PAUSES
        while self._waiting():
            time.sleep(pause)
            pause = min(2 * pause, longest)
            for item in self._waiting():
                try:
                    self._send(item)
                except Exception as error:  # whatever a writer of DICOM raises, the next item is sent
                    self._note(item, error)


def _sentence(error: Exception) -> str:
    """An error of ours as it is; of others the kind alone, since libraries quote what stands in the file."""
    if isinstance(error, WssegError):
        return str(error)
    return f"it cannot be written as DICOM SEG ({type(error).__name__})"


def _image_of(item: Item) -> str:
    """The scan's id; a text that stands in no sentence where the item is damaged."""
    try:
        return item.submission.image
    except (OSError, ValueError):
        return "\0"
