"""What an archive answers, with bounds: however much it sends, and however slowly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.message import Message

import requests
from urllib3 import BaseHTTPResponse

from wsseg.errors import UnavailableError
from wsseg.images.limits import max_scan_gb

LONGEST_LIST = 256 << 20
"""Bytes of an answer that is no series; 100,000 entries of a list are a quarter of that."""

SLOWEST, GRACE = 1024, 60.0
"""Bytes a second that an answer brings on average, and after how many seconds that is asked of it."""

_PIECE = 1 << 20


class RefusedError(UnavailableError):
    """The archive answered, and trying again cannot help."""


def bound(reply: requests.Response) -> requests.Response:
    """A reply whose body ends.

    While it is read it raises :class:`RefusedError` where it is larger than a scan may be, or
    than a list, and :class:`requests.Timeout` where it drips.
    """
    several = reply.headers.get("content-type", "").lower().startswith("multipart/")
    # A voxel counts four bytes there, most files have two; so attributes have room.
    most = int(2 * max_scan_gb() * 2**30) if several else LONGEST_LIST
    raw = reply.raw
    raw.stream = lambda *_, **__: _pieces(raw, most, reply.url.partition("?")[0])
    return reply


def _pieces(raw: BaseHTTPResponse, most: int, url: str) -> Iterator[bytes]:
    began, count = time.monotonic(), 0
    while piece := raw.read1(_PIECE, decode_content=True):
        count += len(piece)
        if count > most:
            raw.close()
            raise RefusedError(f"{url}: answers with more than {most >> 20} MB")
        seconds = time.monotonic() - began
        if seconds > GRACE and count < SLOWEST * seconds:
            raw.close()
            raise requests.Timeout
        yield piece


def parts(reply: requests.Response) -> Iterator[bytes]:
    """The DICOM files of a multipart reply as they come, or the only one, which some archives send bare.

    Raises:
        ValueError: it is something else.
    """
    told = Message()
    told["content-type"] = reply.headers["content-type"]
    if told.get_content_type() == "application/dicom":
        yield reply.content
        return
    boundary = told.get_boundary()
    if boundary is None:
        raise ValueError("is no multipart message")
    delimiter = b"\r\n--" + boundary.encode()
    waiting, begun = bytearray(b"\r\n"), False
    for piece in reply.iter_content(_PIECE):
        searched = max(0, len(waiting) - len(delimiter))
        waiting += piece
        while (end := waiting.find(delimiter, searched)) >= 0:
            if begun:
                yield _content(waiting[:end])
            del waiting[: end + len(delimiter)]
            searched, begun = 0, True
    if waiting.strip() and not waiting.startswith(b"--"):  # some end without the last delimiter
        yield _content(waiting)


def _content(part: bytearray) -> bytes:
    """What follows a part's header."""
    return bytes(part[part.index(b"\r\n\r\n") + 4 :])
