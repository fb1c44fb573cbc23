"""Compressed pixels of a DICOM file: all there, one picture, and of the size that its header says.

GDCM would decode a part of a larger picture, the first of several, or set aside memory for
what a stream claims to be. So what a stream says of itself is read before that.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from wsseg.errors import WssegError
from wsseg.images.limits import CountedReads

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
"""How a fragment begins, and what follows the last one."""

_JPEG, _JPEG_2000 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
"""How pictures begin."""

_FRAMES = (*(bytes([0xFF, code]) for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC)), b"\xff\xf7")
"""Markers of JPEG and JPEG-LS behind which the size stands."""

_HEAD = 1 << 20
"""Bytes at the beginning of a stream in which its size stands."""

_RLE_HEAD = 64


@dataclass(frozen=True)
class Picture:
    """What is said of a picture, but not whether its values are signed: GDCM goes by the header in that."""

    columns: int
    rows: int
    samples: int
    bits: int

    def contradicts(self, stream: Picture) -> bool:
        """Whether a stream is of something else than the header that this is of; a stream may spare some bits."""
        same = (self.columns, self.rows, self.samples) == (stream.columns, stream.rows, stream.samples)
        deep = (stream.bits > 8) == (self.bits > 8) and (stream.bits > 16) == (self.bits > 16)
        return not (same and deep)

    def __str__(self) -> str:
        return f"{self.columns} x {self.rows} pixels of {self.samples} x {self.bits} bits"


@dataclass(frozen=True)
class Fragment:
    """Some bytes of a file."""

    start: int
    length: int


def check_stream(path: Path, start: int, said: Picture) -> None:
    """Refuse a stream of JPEG, JPEG-LS or JPEG 2000 that is not the one picture that the header says.

    Args:
        start: of the pixels in the file.
        said: by the header.

    Raises:
        WssegError: it is cut off, of another size, or of several pictures.
        Exception: whatever damaged bytes set off.
    """
    with CountedReads.of(path) as file:
        found = _fragments(path, file, start)
        begins = [_part(file, each.start, len(_JPEG_2000)) for each in found]
        _check_one(path, sum(begin.startswith((_JPEG, _JPEG_2000)) for begin in begins))
        claimed = _claimed(_head(file, found))
    if said.contradicts(claimed):
        raise WssegError(f"{path}: its compressed pixels are {claimed}, its header says {said}")


def check_run_lengths(path: Path, start: int, pixels: int, segments: int) -> None:
    """Refuse DICOM's RLE that does not unpack to the pixels that the header says; it says nothing of its size.

    Args:
        start: of the pixels in the file.
        segments: one for each byte of a value.

    Raises:
        WssegError: they are cut off, of another size, or of several pictures.
        Exception: whatever damaged bytes set off.
    """
    wrong = WssegError(f"{path}: its compressed pixels are not {pixels} of {segments} bytes, as its header says")
    with CountedReads.of(path) as file:
        found = _fragments(path, file, start)
        _check_one(path, len(found))
        if found[0].length > 2 * (_RLE_HEAD + pixels * segments):
            raise wrong
        stream = _part(file, found[0].start, found[0].length)
    count, *offsets = struct.unpack_from("<16I", stream)
    bounds = [*offsets[:segments], len(stream)]
    if count != segments or bounds[0] < _RLE_HEAD or bounds != sorted(set(bounds)):
        raise wrong
    if not all(_are_run_lengths(stream[begin:end], pixels) for begin, end in pairwise(bounds)):
        raise wrong


def _check_one(path: Path, pictures: int) -> None:
    if pictures > 1:
        raise WssegError(f"{path}: its compressed pixels are of {pictures} pictures, expected one")


def _fragments(path: Path, file: CountedReads, start: int) -> list[Fragment]:
    """All but the table of frames, which comes first; each is a tag, a length and so many bytes.

    Raises:
        WssegError: the delimiter behind the last one is not there.
    """
    found = []
    while (head := _part(file, start, 8))[:4] == _ITEM:
        found.append(Fragment(start + 8, int.from_bytes(head[4:], "little")))
        start = found[-1].start + found[-1].length
    if head[:4] != _END:
        raise WssegError(f"{path}: its pixels are not all there, the file may be cut off")
    return found[1:]


def _part(file: CountedReads, start: int, length: int) -> bytes:
    file.seek(start, os.SEEK_SET)
    return file.read(length)


def _head(file: CountedReads, fragments: list[Fragment]) -> bytes:
    """The beginning of a stream that lies in fragments."""
    found = bytearray()
    for part in fragments:
        found += _part(file, part.start, min(part.length, _HEAD - len(found)))
        if len(found) == _HEAD:
            break
    return bytes(found)


def _claimed(stream: bytes) -> Picture:
    """What a stream of JPEG, JPEG-LS or JPEG 2000 says of itself."""
    if stream.startswith(_JPEG[:2]):
        return _of_jpeg(stream)
    at = stream.index(_JPEG_2000)  # a JP2 file has boxes before
    right, bottom, left, top = struct.unpack_from(">4I", stream, at + 8)
    samples, depth, across, down = struct.unpack_from(">H3B", stream, at + 40)
    columns, rows = _between(left, right, across), _between(top, bottom, down)
    return Picture(columns, rows, samples, (depth & 0x7F) + 1)


def _between(start: int, end: int, step: int) -> int:
    """How many multiples of a step lie from ``start`` to before ``end``."""
    return -(-end // step) + (-start // step)


def _of_jpeg(stream: bytes) -> Picture:
    at = 2
    while (marker := stream[at : at + 2]) not in _FRAMES:
        if marker[0] != 0xFF:
            raise ValueError("no marker is where one should be")
        # Between two segments there may be any number of 0xFF.
        at += 1 if marker[1] == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    bits, rows, columns, samples = struct.unpack_from(">BHHB", stream, at + 4)
    return Picture(columns, rows, samples, bits)


def _are_run_lengths(segment: bytes, count: int) -> bool:
    """Whether PackBits unpacks some bytes to so many, or one more that makes them even; zeros may follow."""
    at = found = 0
    while found < count and at < len(segment):
        head = segment[at]
        if head == 128:  # nothing
            at += 1
        elif head < 128:
            at, found = at + 2 + head, found + 1 + head
        else:
            at, found = at + 2, found + 257 - head
    return count <= found <= count + count % 2 and at <= len(segment) and not segment[at:].strip(b"\0")
