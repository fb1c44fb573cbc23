"""Small files of millions of parts, each of which some library would walk through: refused, or read, within seconds."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from test_broken import CUBE, NRRD, VOXELS, nifti

from wsseg.errors import WssegError
from wsseg.images.dicom.slice import read_header
from wsseg.images.limits import MAX_SCAN_GB
from wsseg.images.scan import read_scan

MANY = 150_000


def picture(form: str, **settings: bool) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(stream, form, **settings)
    return stream.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(more: bytes) -> bytes:
    """A picture with more chunks behind its header."""
    content = picture("PNG")
    return content[:33] + more + content[33:]


def tiff(entries: list[tuple[int, int, int, int]], *, order: str = "<", pages: int = 1, tail: bytes = b"") -> bytes:
    """Pages of the same entries (tag, type, count, value), one after the other."""
    size = 2 + 12 * len(entries) + 4
    page = struct.pack(order + "H", len(entries)) + b"".join(struct.pack(order + "HHII", *each) for each in entries)
    places = [8 + (number + 1) * size for number in range(pages - 1)] + [0]
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "I", 8)
    return head + b"".join(page + struct.pack(order + "I", place) for place in places) + tail


def big_tiff(strips: int) -> bytes:
    entry = struct.pack("<HHQQ", 273, 4, strips, 100)
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1) + entry + struct.pack("<Q", 0)


def jpeg_of_scans(count: int) -> bytes:
    content = picture("JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]


STRIPS = [(256, 3, 1, 1), (257, 4, 1, MANY), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 3, 1, 1)]

REFUSED: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "gzip members before": ("nii.gz", lambda: gzip.compress(b"") * MANY + gzip.compress(nifti()), "packed in more"),
    "gzip members behind": ("nii.gz", lambda: gzip.compress(nifti()) + gzip.compress(b"") * MANY, "packed in more"),
    "gzip members of an NRRD": (
        "nrrd",
        lambda: (NRRD + "encoding: gzip\n\n").encode() + gzip.compress(b"") * MANY + gzip.compress(CUBE),
        "packed in more",
    ),
    "something that is no member behind": ("nii.gz", lambda: gzip.compress(nifti()) + b"\0\0x", "its end is missing"),
    "2 GB before the voxels": ("nii.gz", lambda: gzip.compress(nifti((108, "f", (2.0**30,)))), "vox_offset is"),
    "chunks": ("png", lambda: png(chunk(b"teXt") * MANY), "more parts than a scan has"),
    "empty IDAT": ("png", lambda: png(chunk(b"IDAT") * MANY), "more parts than a scan has"),
    "comments": ("jpg", lambda: picture("JPEG")[:2] + b"\xff\xfe\0\2" * MANY + picture("JPEG")[2:], "more parts"),
    "scans": ("jpg", lambda: jpeg_of_scans(200), "more than 100 scans"),
    "pages": (
        "tif",
        lambda: tiff([*STRIPS, (273, 4, 1, 8), (279, 4, 1, 8)], pages=100_000),
        "more parts than a scan has",
    ),
    "strips": ("tif", lambda: tiff([*STRIPS, (273, 4, 2_000_000, 8)]), "2000000 strips"),
    "tiles, big end first": ("tif", lambda: tiff([(324, 4, 2_000_000, 8)], order=">"), "2000000 strips"),
    "strips of a BigTIFF": ("tif", lambda: big_tiff(1 << 40), "1099511627776 strips"),
    "a number with a line in it": ("nrrd", lambda: spaced("1_0"), "space directions holds '1_0'"),
    "a digit of another script": ("nrrd", lambda: spaced("\u0665"), "space directions holds '\u0665'"),
}


def spaced(size: str) -> bytes:
    return NRRD.replace("(0,0,5)", f"(0,0,{size})").encode() + b"encoding: raw\n\n" + CUBE


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    ending, content, reason = REFUSED[name]
    path = tmp_path / f"scan.{ending}"
    path.write_bytes(content())
    with pytest.raises(WssegError, match=reason) as caught:
        read_scan(path)
    assert str(caught.value).startswith(f"{path}: ")


READ: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a file name of 30 MB": ("nii.gz", lambda: named(gzip.compress(nifti()), 30 << 20)),
    "members as bgzip makes": (
        "nii.gz",
        lambda: b"".join(map(gzip.compress, pieces(nifti(), 10))) + gzip.compress(b""),
    ),
    "zeros behind the last member": ("nii.gz", lambda: gzip.compress(nifti()) + bytes(200_000)),
}


def named(packed: bytes, length: int) -> bytes:
    """With the name of a file in the header."""
    return packed[:3] + b"\x08" + packed[4:10] + b"a" * length + b"\0" + packed[10:]


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


@pytest.mark.parametrize("name", READ)
def test_read_all_the_same(name: str, tmp_path: Path) -> None:
    ending, content = READ[name]
    path = tmp_path / f"scan.{ending}"
    path.write_bytes(content())
    assert np.array_equal(read_scan(path).voxels, VOXELS)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_pictures_are_read_as_before(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"tile.{ {'PNG': 'png', 'JPEG': 'jpg', 'TIFF': 'tif'}[form] }"
    path.write_bytes(picture(form, progressive=True) if form == "JPEG" else picture(form))
    assert np.array_equal(read_scan(path).voxels[:, :, 0].T, np.asarray(Image.open(path)))


def deflated(content: bytes, before: bytes = b"", length: int | None = None) -> bytes:
    """A DICOM file whose rest is packed, with something before that and another length of its beginning."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    stream = io.BytesIO()
    Dataset.save_as(_of(meta), stream, write_like_original=True)
    start = stream.getvalue()[:-2]  # of nothing, packed
    said = b"\2\0\0\0UL\4\0" + struct.pack("<I", len(start) - 132 if length is None else length)
    packing = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return start[:132] + said + start[132:] + before + packing.compress(content) + packing.flush()


def _of(meta: FileMetaDataset) -> Dataset:
    found = Dataset()
    found.file_meta, found.preamble = meta, bytes(128)
    found.is_little_endian, found.is_implicit_VR = True, False
    return found


ELEMENT = b"\x09\0\x01\x10LO\0\0"
"""A private one without a value."""


def test_a_deflated_file_is_unpacked_where_it_begins_and_no_further_than_a_scan_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MAX_SCAN_GB, "0.01")
    path = tmp_path / "a.dcm"
    small = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    innocent = small.compress(b"abc") + small.flush()
    for content in (deflated(bytes(20 << 20)), deflated(bytes(20 << 20), length=1 << 20) + innocent):
        path.write_bytes(content)
        with pytest.raises(WssegError, match="--max-scan-gb"):
            read_header(path)


@pytest.mark.parametrize("packed", [True, False])
def test_a_dicom_file_of_many_attributes_is_refused(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    many = b"".join(b"\x09\0" + struct.pack("<H", number) + b"LO\0\0" for number in range(65536)) * 2
    path.write_bytes(
        deflated(many)
        if packed
        else deflated(b"")[:-2].replace(b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0") + many
    )
    with pytest.raises(WssegError, match="more parts than a scan has"):
        read_header(path)


def test_a_dicom_file_of_nested_sequences_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    nested = (b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 50_000
    path.write_bytes(deflated(nested))
    with pytest.raises(WssegError, match=r"a\.dcm: "):
        read_header(path)
