"""Seeded damage to files of every format, and what the reader made of each.

``python tests/fuzz/run.py`` prints the table.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from wsseg.images.nrrd import write_nrrd_mask
from wsseg.images.volume import Volume

SHAPE = (24, 20, 6)
"""Of every original: small, so that thousands of inputs take minutes."""


def originals(folder: Path) -> dict[str, bytes]:
    """One sound file of each format, by the ending of its name."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(1, 250, SHAPE).astype(np.uint8)
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    image = nib.Nifti1Image(voxels.astype(np.int16), affine)
    image.header.set_xyzt_units("mm")
    found = {".nii": image.to_bytes(), ".nii.gz": gzip.compress(image.to_bytes())}
    for packed in (False, True):
        write_nrrd_mask(folder / "scan.nrrd", Volume(voxels, affine), packed)
        found[".packed.nrrd" if packed else ".nrrd"] = (folder / "scan.nrrd").read_bytes()
    for ending, form in ((".png", "PNG"), (".jpg", "JPEG"), (".tif", "TIFF")):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (40, 30, 3), np.uint8)).save(stream, form)
        found[ending] = stream.getvalue()
    return found


def mutants(content: bytes, seed: int, count: int) -> Iterator[bytes]:
    """So many damaged copies: bits, bytes, numbers, cuts, repeats, insertions; half of them near the beginning."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        damaged = bytearray(content)
        reach = len(damaged) if number % 2 else min(len(damaged), 400)
        at = int(rng.integers(reach))
        match rng.integers(7):
            case 0:
                damaged[at] ^= 1 << int(rng.integers(8))
            case 1:
                damaged[at] = int(rng.integers(256))
            case 2:
                extreme = rng.choice([0, 1, 255, 0x7F, 0x80], 4).astype(np.uint8).tobytes()
                damaged[at : at + 4] = extreme
            case 3:
                del damaged[at:]
            case 4:
                damaged[at:at] = damaged[at : at + int(rng.integers(1, 64))]
            case 5:
                damaged[at : at + int(rng.integers(1, 64))] = b""
            case _:
                damaged += rng.bytes(int(rng.integers(1, 5000)))
        yield bytes(damaged)
