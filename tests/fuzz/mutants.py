"""Sound scans of every format, and seeded damage to them that knows whether it hit a header or voxels."""

from __future__ import annotations

import gzip
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from formats import SERIES
from live import write_series
from PIL import Image

from wsseg.images.formats.nrrd import write_nrrd_mask
from wsseg.images.volume import Volume

SHAPE = (24, 20, 6)
"""Of every original: small, so that thousands of inputs take minutes."""


@dataclass(frozen=True)
class Original:
    """A sound scan.

    Attributes:
        path: a file, or the folder of a series.
        files: what is damaged, one of them at a time.
        voxels: the byte of each that its voxels begin at.
    """

    path: Path
    files: tuple[Path, ...]
    voxels: int


@dataclass(frozen=True)
class Damage:
    """One damaged copy.

    Attributes:
        contents: of the files that are not as they were.
        header: whether a byte before the voxels was hit; else some of theirs, or the file's end.
    """

    contents: dict[Path, bytes]
    header: bool


def original(ending: str, folder: Path) -> Original:
    """A sound scan of one format, written into a folder."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(1, 250, SHAPE).astype(np.uint8)
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    path = folder / f"scan{ending}"
    if ending == SERIES:
        path.mkdir(exist_ok=True)
        scan = sitk.GetImageFromArray(voxels.T.astype(np.int16))
        scan.SetSpacing((2, 2, 5))
        write_series(path, scan)
        files = tuple(sorted(path.iterdir()))
        return Original(path, files, files[0].stat().st_size - 2 * SHAPE[0] * SHAPE[1])
    if ".nii" in ending:
        image = nib.Nifti1Image(voxels.astype(np.int16), affine)
        image.header.set_xyzt_units("mm")
        path.write_bytes(gzip.compress(image.to_bytes(), mtime=0) if ending.endswith(".gz") else image.to_bytes())
        start = 352
    elif ending.endswith(".nrrd"):
        write_nrrd_mask(path, Volume(voxels, affine), ending.startswith(".packed"))
        start = path.read_bytes().index(b"\n\n") + 2
    else:
        stream = io.BytesIO()
        form = {".png": "PNG", ".jpg": "JPEG", ".tif": "TIFF"}[ending]
        Image.fromarray(rng.integers(0, 255, (40, 30, 3), np.uint8)).save(stream, form)
        path.write_bytes(stream.getvalue())
        start = _first_pixel(form, stream.getvalue())
    return Original(path, (path,), start)


def damages(sound: Original, seed: int, count: int) -> Iterator[Damage]:
    """So many damaged copies of a scan; half of them are hit near the beginning."""
    rng = np.random.default_rng(seed)
    contents = {file: file.read_bytes() for file in sound.files}
    for number in range(count):
        file = sound.files[int(rng.integers(len(sound.files)))]
        if len(sound.files) > 1 and number % 8 == 0:
            yield _damaged_series(contents, file, sound.voxels, rng)
            continue
        content = contents[file]
        near = min(len(content), max(400, sound.voxels))
        at = int(rng.integers(len(content) if number % 2 else near))
        yield Damage({file: _damaged(content, at, rng)}, at < sound.voxels)


def write(sound: Original, damage: Damage, folder: Path) -> Path:
    """A damaged copy under the name of the original, in a folder that may hold an earlier one."""
    path = folder / sound.path.name
    if sound.path.is_dir():
        shutil.copytree(sound.path, path, dirs_exist_ok=True)
    for file, content in damage.contents.items():
        path.parent.joinpath(file.relative_to(sound.path.parent)).write_bytes(content)
    return path


def _damaged(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    """Bits, bytes, numbers, cuts, repeats, deletions at a place, or a tail."""
    damaged = bytearray(content)
    match rng.integers(7):
        case 0:
            damaged[at] ^= 1 << int(rng.integers(8))
        case 1:
            damaged[at] = int(rng.integers(256))
        case 2:
            damaged[at : at + 4] = rng.choice([0, 1, 255, 0x7F, 0x80], 4).astype(np.uint8).tobytes()
        case 3:
            del damaged[at:]
        case 4:
            damaged[at:at] = damaged[at : at + int(rng.integers(1, 64))]
        case 5:
            damaged[at : at + int(rng.integers(1, 64))] = b""
        case _:
            damaged += rng.bytes(int(rng.integers(1, 5000)))
    return bytes(damaged)


def _damaged_series(contents: dict[Path, bytes], file: Path, voxels: int, rng: np.random.Generator) -> Damage:
    """A slice that lies where another does, that has another's pixels, or that is empty."""
    other = next(one for one in contents if one != file)
    match rng.integers(3):
        case 0:
            return Damage({file: contents[other]}, True)
        case 1:
            mine, its = contents[file], contents[other]
            return Damage({file: mine[:voxels] + its[voxels:], other: its[:voxels] + mine[voxels:]}, False)
        case _:
            return Damage({file: b""}, True)


def _first_pixel(form: str, content: bytes) -> int:
    """Where a picture's pixels begin."""
    if form == "TIFF":
        with Image.open(io.BytesIO(content)) as picture:
            return int(picture.tag_v2[273][0])  # StripOffsets
    return content.index(b"IDAT" if form == "PNG" else b"\xff\xda")
