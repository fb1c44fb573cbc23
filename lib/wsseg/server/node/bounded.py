"""What a caller says that it will send is looked at before it is read."""

from __future__ import annotations

import logging
import time

from pynetdicom import evt
from pynetdicom.transport import AssociationSocket

logger = logging.getLogger(__name__)

LONGEST = 1 << 20
"""Bytes of a PDU at most. Images come in pieces of ``node.PDU``; a request to associate with 128 contexts, each with
all transfer syntaxes there are, takes half of this."""

SECONDS = 60.0
"""In which all of a PDU must have come, once it began."""

PIECE = 1 << 16
"""Bytes that are taken from the connection at a time."""


class BoundedSocket(AssociationSocket):
    """A connection that holds no more than one PDU of ``LONGEST``, and that for no longer than ``SECONDS``.

    pynetdicom's own reads as many bytes as a header of six announces, up to 4 GB, before it asks anybody whether the
    caller is known, and each byte gives the next one all the time there is.
    """

    def recv(self, nr_bytes: int) -> bytearray:
        """As many bytes, less where the caller hangs up.

        Raises:
            OSError: too many, or too slow; the connection is closed.
        """
        taken, end = bytearray(), time.monotonic() + SECONDS
        connection = self.socket
        if connection is None:
            return taken
        usual = connection.gettimeout()
        try:
            if nr_bytes > LONGEST:
                raise OSError(f"a PDU of {nr_bytes} bytes was announced")
            while len(taken) < nr_bytes:
                connection.settimeout(max(end - time.monotonic(), 0.001))
                piece = connection.recv(min(PIECE, nr_bytes - len(taken)))
                if not piece:
                    break
                taken += piece
            connection.settimeout(usual)
        except OSError as error:
            logger.warning("a connection was closed (%s)", error)
            self.close()
            raise
        return taken


def bound(event: evt.Event) -> None:
    """Bound a connection that was just opened: pynetdicom makes its sockets itself, and reads after this handler."""
    event.assoc.dul.socket.__class__ = BoundedSocket
