"""A DICOM node as the place where results go (C-STORE), and TLS between DICOM nodes.

What the environment says: this side's title in ``WSSEG_DICOM_AET``, and where TLS
is spoken, files of a certificate, its key and the authority that the other side's
certificate must be of, in ``WSSEG_DICOM_CERT``, ``WSSEG_DICOM_KEY`` and
``WSSEG_DICOM_CA``.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom import AE, Association
from pynetdicom.sop_class import Verification

from wsseg.archive.web.replies import RefusedError
from wsseg.errors import UnavailableError, WssegError
from wsseg.images.dicom.seg import Identity

PREFIX = "WSSEG_DICOM_"
"""How names of the environment's variables begin."""

TITLE = r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?"
"""Of a node: 1 to 16 ASCII characters without backslash, spaces not at its ends."""

SECONDS = 60.0
"""Within which the other side must answer."""

SUCCESS = 0x0000
"""Of a C-STORE or C-ECHO (PS3.4, table B.2-1)."""

TRANSIENT = 2
"""Of a rejection that may not be one a moment later (PS3.8, 9.3.4)."""

_FULL = range(0xA700, 0xA800)
_STORED_CHANGED = range(0xB000, 0xC000)

_ADDRESS = re.compile(rf"(?P<title>(?!.*/){TITLE})@(?P<host>[^@/:\s]+):(?P<port>[0-9]{{1,5}})")


@dataclass(frozen=True)
class Tls:
    """Certificates, so that both sides of a connection know each other.

    Attributes:
        cert, key: files of the own one.
        ca: file of the authority that the other side's is of.
    """

    cert: str
    key: str
    ca: str

    @classmethod
    def of(cls, cert: str, key: str, ca: str) -> Tls | None:
        """None where nothing is named.

        Raises:
            WssegError: some of the files are named and others are not.
        """
        if not (cert or key or ca):
            return None
        if not (cert and key and ca):
            raise WssegError(
                "--dicom-cert, --dicom-key and --dicom-ca: TLS needs all three, so that both sides are known"
            )
        return cls(cert, key, ca)

    def calling(self) -> ssl.SSLContext:
        """For connections that this side opens."""
        return self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def called(self) -> ssl.SSLContext:
        """For connections that others open."""
        return self._loaded(_Unhurried(ssl.PROTOCOL_TLS_SERVER))

    def _loaded(self, context: ssl.SSLContext) -> ssl.SSLContext:
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
            context.load_verify_locations(self.ca)
        except (OSError, ValueError) as error:
            raise WssegError(f"--dicom-cert, --dicom-key, --dicom-ca: cannot be used ({error})") from error
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _no_password() -> str:
    raise ValueError("the key asks for a password")


class _Unhurried(ssl.SSLContext):
    """Leaves the handshake to the first read, in the connection's own thread and within its time.

    pynetdicom wraps connections in the thread that accepts them: a caller that
    says nothing would keep all others out.
    """

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(sock, *args, **{**options, "do_handshake_on_connect": False})


class NodeDestination:
    """A DICOM node that takes C-STORE. What it acknowledges it has.

    Args:
        address: TITLE@host:port.
    """

    def __init__(self, address: str) -> None:
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise WssegError(f"{address}: is no DICOM address like PACS@host:11112")
        self._address = address
        self._title, self._host, self._port = found["title"], found["host"], int(found["port"])
        told = {name: os.environ.get(f"{PREFIX}{name}", "") for name in ("AET", "CERT", "KEY", "CA")}
        self._own = told["AET"] or "WSSEG"
        tls = Tls.of(told["CERT"], told["KEY"], told["CA"])
        self._tls = None if tls is None else (tls.calling(), self._host)

    def check(self) -> None:
        """C-ECHO."""
        with self._associated(Verification) as association:
            self._heed(association.send_c_echo().get("Status"))

    def holds(self, study: str, identity: Identity) -> bool:
        """Never: a node that stores need not answer questions. What it has it takes again as the same object."""
        return False

    def store(self, file: Path, study: str, identity: Identity) -> None:
        """Send a file."""
        dataset = dcmread(file)
        with self._associated(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) as association:
            self._heed(association.send_c_store(dataset).get("Status"))

    @contextmanager
    def _associated(self, kind: str, *syntax: str) -> Iterator[Association]:
        """An association for one kind of object, released at the end."""
        entity = AE(self._own)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = SECONDS
        entity.add_requested_context(kind, *syntax)
        association = entity.associate(self._host, self._port, ae_title=self._title, tls_args=self._tls)
        if association.is_rejected:
            passing = association.acceptor.primitive.result == TRANSIENT
            raise (UnavailableError if passing else RefusedError)(
                f"{self._address}: rejects {self._own}, does it know that title, and is its own right?"
            )
        if not association.is_established:
            refused = bool(association.rejected_contexts)
            raise (RefusedError if refused else UnavailableError)(
                f"{self._address}: " + ("takes no such objects" if refused else "cannot be reached, or hung up")
            )
        try:
            yield association
        finally:
            association.release()

    def _heed(self, status: int | None) -> None:
        """Raise unless an answer says that all is well."""
        if status is None:
            raise UnavailableError(f"{self._address}: does not answer in time, or hung up")
        if status in _FULL:
            raise UnavailableError(f"{self._address}: has no room (status {status:04X})")
        if status != SUCCESS and status not in _STORED_CHANGED:
            raise RefusedError(f"{self._address}: refuses (status {status:04X})")


def is_node(place: str) -> bool:
    """Whether a text is the address of a node."""
    return _ADDRESS.fullmatch(place) is not None
