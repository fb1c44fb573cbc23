"""NRRD in and out.

The text header is read and checked here and the voxels by numpy: nothing of a
file reaches native code, and no file but the named one is opened.
"""

from __future__ import annotations

import gzip
import math
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.images.limits import check_size, opened, read_last, unpacked
from wsseg.images.volume import LPS, Volume, checked_affine, shape_3d

NRRD = (".nrrd",)
"""File name endings of NRRD."""

_LINE, _LINES = 1 << 16, 10_000
"""The longest line of a header and the most of them; 3D Slicer's own are a few hundred."""

_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_KINDS = {name: kind for kind, names in _TYPES.items() for name in names.split(", ")}

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,5})?")

_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (-1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (-1.0, -1.0)),
    # ITK, and so 3D Slicer, takes these for LPS.
    **dict.fromkeys(("scanner-xyz", "3d-right-handed", "3d-left-handed"), (-1.0, -1.0)),
}
"""Signs of the first two axes of a space in RAS+."""

_MM = {"": 1.0, "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001, "micron": 0.001}
"""Millimetres of a unit; "" where none is named."""

_DESCRIPTIVE = {
    *("content", "number", "thicknesses", "min", "max", "old min", "old max", "block size", "sample units"),
    *("centers", "labels", "measurement frame", "space dimension"),
}
"""Fields that do not change what is read here."""

_ALIASES = {
    **{"lineskip": "line skip", "byteskip": "byte skip", "datafile": "data file", "centerings": "centers"},
    **{"oldmin": "old min", "oldmax": "old max", "blocksize": "block size", "sampleunits": "sample units"},
}
"""Other spellings of a field."""

_READ = {
    *("type", "dimension", "sizes", "encoding", "endian", "space", "space directions", "space origin", "spacings"),
    *("kinds", "space units", "units", "line skip", "byte skip"),
}


@dataclass(frozen=True)
class _Header:
    """What a header says.

    Attributes:
        kind: of a voxel, in the file's byte order.
        shape: of the volume.
        affine: as :class:`Volume` has it.
        packed: whether the voxels are compressed by gzip.
    """

    kind: np.dtype
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    packed: bool

    @property
    def bytes(self) -> int:
        """Of all voxels."""
        return math.prod(self.shape) * self.kind.itemsize


def read_nrrd(path: Path) -> Volume:
    """A scan of any real type.

    Raises:
        WssegError: the file is damaged, its header contradicts the voxels, or
            they lie in another file or another encoding than ``raw`` and ``gzip``.
    """
    with opened(path) as file:
        header = _read_header(file, path)
        with unpacked(file, path) if header.packed else nullcontext(file) as stream:
            stored = read_last(stream, header.bytes, path)
    voxels = np.frombuffer(stored, header.kind).reshape(header.shape, order="F")
    return Volume(np.ascontiguousarray(voxels, header.kind.newbyteorder("=")), header.affine)


def read_nrrd_grid(path: Path) -> Volume:
    """:func:`read_nrrd` without the voxels: all are 0, and none is read."""
    with opened(path) as file:
        header = _read_header(file, path)
    return Volume(np.broadcast_to(np.uint8(0), header.shape), header.affine)


def write_nrrd_mask(path: Path, mask: Volume, packed: bool = True) -> None:
    """Write a mask as uint8, compressed by gzip if ``packed``."""
    affine = LPS @ mask.affine
    lines = (
        "NRRD0004",
        "type: unsigned char",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, mask.shape))}",
        f"space directions: {' '.join(_vector(axis) for axis in affine[:3, :3].T)}",
        "kinds: domain domain domain",
        f"encoding: {'gzip' if packed else 'raw'}",
        f"space origin: {_vector(affine[:3, 3])}",
    )
    voxels = mask.voxels.astype(np.uint8).tobytes(order="F")
    path.write_bytes("\n".join((*lines, "\n")).encode() + (gzip.compress(voxels, 6) if packed else voxels))


def _read_header(file: BinaryIO, path: Path) -> _Header:
    """The header at the beginning of a file, checked."""
    fields = _fields(file, path)

    def needed(name: str) -> str:
        if name not in fields:
            raise WssegError(f"{path}: cannot be read as an image, {name} is missing")
        return fields[name]

    name, encoding = needed("type").lower(), needed("encoding").lower()
    if name not in _KINDS:
        raise WssegError(f"{path}: type is {name[:40]!r}, expected a whole or a real number")
    if encoding not in ("raw", "gzip", "gz"):
        raise WssegError(f"{path}: encoding is {encoding[:40]!r}, expected raw or gzip")
    for skipped in ("line skip", "byte skip"):
        if fields.get(skipped, "0") != "0":
            raise WssegError(f"{path}: {skipped} is {fields[skipped][:40]!r}, expected voxels right after the header")
    kind = np.dtype(_KINDS[name])
    if kind.itemsize > 1:
        orders = {"little": "<", "big": ">"}
        order = needed("endian").lower()
        if order not in orders:
            raise WssegError(f"{path}: endian is {order[:40]!r}, expected little or big")
        kind = kind.newbyteorder(orders[order])  # type: ignore[arg-type]
    sizes = _integers(needed("sizes"), "sizes", path)
    if [len(sizes)] != _integers(needed("dimension"), "dimension", path):
        raise WssegError(f"{path}: dimension is {fields['dimension'][:40]}, but {len(sizes)} sizes are given")
    _check_kinds(fields.get("kinds", ""), sizes, path)
    shape, affine = shape_3d(tuple(sizes), path), _affine(fields, len(sizes), path)
    check_size(shape, kind.itemsize, path)
    return _Header(kind, shape, affine, encoding != "raw")


def _fields(file: BinaryIO, path: Path) -> dict[str, str]:
    """The fields before the first empty line, by their names in lower case; comments and keys of users left out."""
    if not re.fullmatch(rb"NRRD000[1-5]\s*", file.readline(_LINE)):
        raise WssegError(f"{path}: cannot be read as an image, it does not begin as such a file")
    fields: dict[str, str] = {}
    for _ in range(_LINES):
        line = file.readline(_LINE).decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            return fields
        name, colon, value = line.partition(":")
        if line.startswith("#") or value.startswith("="):
            continue
        name, value = _ALIASES.get(name.lower(), name.lower()), value.strip()
        if name == "data file":
            raise WssegError(f"{path}: its voxels are in another file ({name}), save the scan as a single .nrrd file")
        if not colon or name not in _READ | _DESCRIPTIVE:
            raise WssegError(f"{path}: cannot be read as an image, {line[:40]!r} is no known field")
        if fields.setdefault(name, value) != value:
            raise WssegError(f"{path}: cannot be read as an image, {name} is given twice")
    raise WssegError(f"{path}: cannot be read as an image, its header does not end")


def _check_kinds(kinds: str, sizes: list[int], path: Path) -> None:
    """Refuse axes of colours or of vectors."""
    for kind, size in zip(kinds.lower().split(), sizes, strict=False):
        if kind not in ("domain", "space", "???", "none") and size > 1:
            raise WssegError(f"{path}: is a colour or vector image (kind {kind[:40]!r}), expected grey values in 3-D")


def _affine(fields: dict[str, str], count: int, path: Path) -> NDArray[np.float64]:
    """Voxel index to millimetres, RAS+."""
    affine = np.eye(4)
    if "space directions" in fields:
        columns = [_vector_of(text, "space directions", path) for text in _vectors(fields["space directions"])]
        field = "space directions"
    elif "spacings" in fields:
        sizes = [_number(text, "spacings", path) for text in fields["spacings"].split()]
        columns, field = [np.eye(len(sizes))[k] * size for k, size in enumerate(sizes)], "spacings"
    else:
        raise WssegError(f"{path}: space directions are missing, so the size of its voxels is not known")
    columns = columns[:3]
    if len(columns) != min(count, 3) or len({len(column) for column in columns}) != 1 or len(columns[0]) not in (2, 3):
        raise WssegError(f"{path}: {field} are not one for each axis")
    for k, column in enumerate(columns):
        affine[: len(column), k] = column
    if len(columns) == 2 and len(columns[0]) == 3:  # a slice that lies somewhere in space
        normal = np.cross(columns[0], columns[1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1)
    affine[:3, :3] *= _unit(fields, path)
    if "space origin" in fields:
        origin = _vector_of(fields["space origin"], "space origin", path)
        affine[: len(origin), 3] = origin[:3]
    space = fields.get("space", "left-posterior-superior").lower()
    if space not in _SPACES:
        raise WssegError(f"{path}: space is {space[:40]!r}, expected one of a patient in 3-D")
    x, y = _SPACES[space]
    return checked_affine(np.diag([x, y, 1.0, 1.0]) @ affine, path, field)


def _unit(fields: dict[str, str], path: Path) -> float:
    """Millimetres of the unit that sizes are given in."""
    given = fields.get("space units" if "space directions" in fields else "units", "")
    found = {text.strip().lower() for text in re.findall(r'"([^"]*)"', given)} or {""}
    if len(found) > 1 or not found <= _MM.keys():
        raise WssegError(f"{path}: units are {given[:40]!r}, expected millimetres")
    return _MM[found.pop()]


def _vectors(text: str) -> list[str]:
    """``(1,0,0) (0,1,0) none`` in its parts."""
    return re.findall(r"\([^()]*\)|\S+", text)


def _vector_of(text: str, field: str, path: Path) -> NDArray[np.float64]:
    inside = re.fullmatch(r"\s*\(([^()]*)\)\s*", text)
    if inside is None:
        raise WssegError(f"{path}: {field} holds {text[:40]!r}, expected a vector like (1,0,0)")
    return np.array([_number(number, field, path) for number in inside[1].split(",")])


def _number(text: str, field: str, path: Path) -> float:
    # Python reads 1_0 and digits of other scripts too, other readers do not.
    number = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(number):
        raise WssegError(f"{path}: {field} holds {text[:40]!r}, expected a number")
    return number


def _integers(text: str, field: str, path: Path) -> list[int]:
    if not re.fullmatch(r"[0-9]{1,12}(\s+[0-9]{1,12}){0,15}", text):
        raise WssegError(f"{path}: {field} is {text[:40]!r}, expected whole numbers")
    return [int(number) for number in text.split()]


def _vector(numbers: NDArray[np.float64]) -> str:
    return f"({','.join(repr(float(number)) for number in numbers)})"
