"""The node itself: C-ECHO and C-STORE for callers on a list, each image on disk before it is acknowledged."""

from __future__ import annotations

import logging
import threading
from typing import Any
from weakref import WeakKeyDictionary

from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, Association, evt
from pynetdicom.sop_class import Verification

from wsseg.archive.dimse import SUCCESS
from wsseg.errors import FullError, WssegError
from wsseg.server.node.bounded import bound
from wsseg.server.node.inbox import Inbox
from wsseg.server.node.settings import NodeSettings

logger = logging.getLogger(__name__)

NO_ROOM, MISMATCH, NOT_UNDERSTOOD = 0xA700, 0xA900, 0xC000
"""Answers to a C-STORE beside :data:`SUCCESS` (PS3.4, table B.2-1)."""

ASSOCIATIONS = 64
"""At once."""

LARGEST = 1 << 28
"""Bytes of an image, which has one frame; an association that sends more is ended."""

PDU = 1 << 17
"""Bytes of a message's piece that callers are told to send at most."""

SECONDS = 60.0
"""Within which a caller must go on."""


class Node:
    """A DICOM node. Nothing that is broken is accepted; what is acknowledged is on disk.

    Args:
        settings: where it listens, and to whom.
        inbox: takes what is sent.

    Raises:
        WssegError: the port cannot be listened on, or TLS's files cannot be used.
    """

    def __init__(self, settings: NodeSettings, inbox: Inbox) -> None:
        self._inbox = inbox
        self._sent: WeakKeyDictionary[Association, int] = WeakKeyDictionary()
        entity = AE(settings.aet)
        entity.require_called_aet = True
        entity.require_calling_aet = settings.titles()
        entity.maximum_associations = ASSOCIATIONS
        entity.maximum_pdu_size = PDU
        entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = SECONDS
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            kind = context.abstract_syntax
            if kind is not None and "Image Storage" in UID(kind).name:
                entity.add_supported_context(kind, ALL_TRANSFER_SYNTAXES)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, bound),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_PDU_RECV, self._weigh),
            (evt.EVT_DIMSE_RECV, lambda event: self._sent.pop(event.assoc, None)),
        ]
        tls = settings.tls()
        try:
            self._server = entity.start_server(
                (settings.host, settings.port), block=False, ssl_context=tls and tls.called(), evt_handlers=handlers
            )
        except OSError as error:
            where = f"--dicom-port {settings.port}: cannot listen on {settings.host}"
            raise WssegError(f"{where} ({error.strerror})") from error
        if self._server is None:
            raise WssegError("--dicom-port: the node did not start")
        self.port = int(self._server.server_address[1])

    def stop(self) -> None:
        """Listen no longer; what is being sent is broken off, and not acknowledged."""
        if self._server is not None:
            self._server.shutdown()

    def _weigh(self, event: evt.Event) -> None:
        """End an association whose message grows beyond what an image may take."""
        before = self._sent.get(event.assoc, 0)
        self._sent[event.assoc] = before + len(event.pdu)
        if before <= LARGEST < self._sent[event.assoc]:
            logger.warning("an association sent more than an image may take")
            # abort() waits for the thread that called this handler, which would wait for itself for ever.
            threading.Thread(target=event.assoc.abort, name="abort", daemon=True).start()

    def _store(self, event: evt.Event) -> int:
        """Take one image; the answer says whether it is on disk."""
        try:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            named = (dataset.get("SOPInstanceUID"), dataset.get("SOPClassUID"))
            if named != (event.request.AffectedSOPInstanceUID, event.request.AffectedSOPClassUID):
                return MISMATCH
            self._inbox.take(dataset)
        except FullError as error:
            logger.warning("an image was refused: %s", error)
            return NO_ROOM
        except Exception as error:  # whatever a broken object sets off, the sender is told, and keeps it
            logger.warning("an image was refused (%s)", type(error).__name__)
            return NOT_UNDERSTOOD
        return SUCCESS
