"""Headers that do not belong to their voxels are refused by the field's name; what is odd but right is read."""

from __future__ import annotations

import contextlib
import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from wsseg.errors import WssegError
from wsseg.images.formats.nifti import read_nifti
from wsseg.images.formats.table import read_grid, read_volume, write_mask
from wsseg.images.limits import MAX_SCAN_GB
from wsseg.images.scan import read_scan

VOXELS = np.random.default_rng(0).integers(0, 500, (8, 9, 5)).astype(np.int16)
NRRD = (
    "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nspace: left-posterior-superior\n"
    "space directions: (1,0,0) (0,1,0) (0,0,5)\nspace origin: (0,0,0)\n"
)
CUBE = bytes(range(64))

Patch = tuple[int, str, tuple[float, ...]]
"""Where in a NIfTI header, the struct format and the values."""

CODES, PIXDIM, SROW = 252, 80, 280


def nifti(*patches: Patch, tail: bytes = b"") -> bytes:
    """A NIfTI file of 2 x 2 x 5 mm by its qform, with some bytes of its header replaced."""
    image = nib.Nifti1Image(VOXELS, np.diag([2.0, 2.0, 5.0, 1.0]))
    image.header.set_xyzt_units("mm")
    image.header["sform_code"], image.header["qform_code"] = 0, 1
    raw = bytearray(image.to_bytes())
    for at, form, values in patches:
        struct.pack_into(f"<{len(values)}{form}", raw, at, *values)
    return bytes(raw) + tail


def flipped(content: bytes, at: float) -> bytes:
    """One bit turned over, at a part of the length."""
    damaged = bytearray(content)
    damaged[int(len(content) * at)] ^= 0x10
    return bytes(damaged)


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "a pixdim of 0": ("nii", nifti((PIXDIM, "f", (2, 2, 0))), "pixdim says 0 mm"),
    "no pixdim": ("nii", nifti((PIXDIM, "f", (0, 0, 0))), "pixdim says 0 mm"),
    "a tiny pixdim": ("nii", nifti((PIXDIM, "f", (1e-6, 2, 5))), "pixdim says 1e-06 mm"),
    "a vast pixdim": ("nii", nifti((PIXDIM, "f", (2, 2, 1e30))), "pixdim says 1e[+]30 mm"),
    "an infinite pixdim": ("nii", nifti((PIXDIM, "f", (2, 2, np.inf))), "pixdim is"),
    "metres that are millimetres": ("nii", nifti((123, "B", (1,))), "pixdim says 2000 mm"),
    "an unknown unit": ("nii", nifti((123, "B", (6,))), "xyzt_units is 6"),
    "voxels from the header on": ("nii", nifti((108, "f", (0,))), "vox_offset is 0"),
    "voxels from a broken byte on": ("nii", nifti((108, "f", (352.5,))), "vox_offset is 352.5"),
    "voxels from 16 bytes later on": ("nii", nifti((108, "f", (368,))), "cut off"),
    "other bits than its type": ("nii", nifti((72, "h", (8,))), "bitpix is 8"),
    "another type than its bits": ("nii", nifti((70, "h", (16,))), "bitpix is 16"),
    "fewer voxels than bytes": ("nii", nifti((42, "h", (7,))), "its header is wrong"),
    "more voxels than bytes": ("nii", nifti((42, "h", (9,))), "cut off"),
    "a byte too much": ("nii", nifti(tail=b"\0"), "its header is wrong"),
    "an infinite slope": ("nii", nifti((112, "f", (np.inf, 0))), "scl_slope is inf"),
    "an intercept that is none": ("nii", nifti((112, "f", (2, np.nan))), "scl_inter is nan"),
    "transforms of other sizes": (
        "nii",
        nifti((CODES, "h", (1, 1)), (SROW, "f", (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0))),
        "contradicts itself, voxels are 1 x 1 x 1 mm by srow_x.* 2 x 2 x 5 mm by pixdim",
    ),
    "transforms of sizes a little too far apart": (
        "nii",
        nifti((CODES, "h", (1, 1)), (SROW, "f", (2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 5.3, 0))),
        "contradicts itself, voxels are 2 x 2 x 5.3 mm",
    ),
    "transforms turned apart": (
        "nii",
        nifti((CODES, "h", (1, 1)), (SROW, "f", (-2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 5, 0))),
        "contradicts itself, sform and qform",
    ),
    "a checksum that is wrong": ("nii.gz", gzip.compress(nifti())[:-8] + bytes(8), "incorrect data check"),
    "a checksum that is missing": ("nii.gz", gzip.compress(nifti())[:-8], "damaged or cut off"),
    "packed data that go on": ("nii.gz", gzip.compress(nifti(tail=bytes(1 << 20))), "its header is wrong"),
    "a second packed file": ("nii.gz", gzip.compress(nifti()) * 2, "its header is wrong"),
    **{
        f"a bit turned at {part}": ("nii.gz", flipped(gzip.compress(nifti()), part), "damaged|header")
        for part in (0.3, 0.5, 0.7, 0.9)
    },
    "more than the limit": ("nii", nifti((42, "h", (20000, 20000, 9))), "--max-scan-gb"),
    "more than the limit, packed": ("nii.gz", gzip.compress(nifti((42, "h", (20000, 20000, 9)))), "--max-scan-gb"),
    "text of one long word": ("nrrd", (NRRD + "encoding: ascii\n\n").encode() + b"1" * 3000, "encoding is 'ascii'"),
    "hexadecimal text": ("nrrd", (NRRD + "encoding: hex\n\n").encode() + CUBE.hex().encode(), "encoding is 'hex'"),
    "bzip2": ("nrrd", (NRRD + "encoding: bzip2\n\n").encode() + CUBE, "encoding is 'bzip2'"),
    **{
        f"voxels elsewhere, {spelling}": ("nrrd", f"{NRRD}encoding: raw\n{spelling}\n\n".encode(), "another file")
        for spelling in (
            *("data file: /etc/hostname", "datafile: /etc/hostname", "DATA FILE: x.raw", "Data File:x.raw"),
            *("data file: LIST\n/etc/hostname", "data file: /proc/self/%d 1 4 1 2"),
        )
    },
    "sizes beyond its bytes": ("nrrd", (NRRD + "encoding: raw\n\n").encode() + CUBE[:-1], "cut off"),
    "bytes beyond its sizes": ("nrrd", (NRRD + "encoding: raw\n\n").encode() + CUBE + b"x", "its header is wrong"),
    "a packed NRRD that goes on": (
        "nrrd",
        (NRRD + "encoding: gzip\n\n").encode() + gzip.compress(CUBE + b"x"),
        "its header is wrong",
    ),
    "a size in another line again": ("nrrd", (NRRD + "sizes: 4 4 5\nencoding: raw\n\n").encode() + CUBE, "given twice"),
    "a field that is none": ("nrrd", (NRRD + "spacingz: 1 1 1\nencoding: raw\n\n").encode() + CUBE, "no known field"),
    "no size of voxels": (
        "nrrd",
        b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n\n" + CUBE,
        "space directions are missing",
    ),
    "voxels of no size": (
        "nrrd",
        (NRRD.replace("(0,0,5)", "(0,0,1e-9)") + "encoding: raw\n\n").encode() + CUBE,
        "space directions says 1e-09 mm",
    ),
    "a header without end": ("nrrd", NRRD.encode() + b"# more\n" * 20_000, "does not end"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    ending, content, reason = REFUSED[name]
    path = tmp_path / f"scan.{ending}"
    path.write_bytes(content)
    with pytest.raises(WssegError, match=reason) as caught:
        read_scan(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("at", [76, PIXDIM, 108, 112, 116, 124, 256, 268, SROW, SROW + 36, 352])
@pytest.mark.parametrize("code", [0, 1])
def test_a_nan_that_signals_is_refused_where_it_counts_and_makes_no_noise(at: int, code: int, tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    raw = bytearray(nifti((CODES, "h", (1 - code, code))))
    raw[at : at + 4] = b"\x01\0\xa0\x7f"
    if at == 352:
        struct.pack_into("<hh", raw, 70, 16, 32)  # of float32
        raw += bytes(len(raw) - 352)
    path.write_bytes(raw)
    with contextlib.suppress(WssegError):
        scan = read_scan(path)
        assert np.isfinite(scan.affine).all()
        assert np.array_equal(scan.voxels, VOXELS)


ALIKE: dict[str, tuple[str, bytes]] = {
    "metres": ("nii", nifti((PIXDIM, "f", (0.002, 0.002, 0.005)), (123, "B", (1,)))),
    "microns": ("nii", nifti((PIXDIM, "f", (2000, 2000, 5000)), (123, "B", (3,)))),
    "no unit": ("nii", nifti((123, "B", (0,)))),
    "packed": ("nii.gz", gzip.compress(nifti())),
    "packed in two": ("nii.gz", gzip.compress(nifti()[:500]) + gzip.compress(nifti()[500:])),
    "a pixdim below 0": ("nii", nifti((PIXDIM, "f", (-2, 2, 5)))),
    "a slope of 0": ("nii", nifti((112, "f", (0, 7)))),
}


@pytest.mark.parametrize("name", ALIKE)
def test_odd_headers_give_the_same_volume_and_a_mask_that_lies_on_it(name: str, tmp_path: Path) -> None:
    ending, content = ALIKE[name]
    path = tmp_path / f"scan.{ending}"
    path.write_bytes(content)
    scan = read_scan(path)
    assert np.array_equal(scan.voxels, VOXELS)
    assert scan.spacing == pytest.approx((2, 2, 5))
    assert np.array_equal(read_grid(path).affine, scan.affine)
    write_mask(tmp_path / "mask.nii.gz", scan.like(VOXELS > 100))
    mask = read_volume(tmp_path / "mask.nii.gz")
    assert np.array_equal(mask.affine, scan.affine)
    assert nib.load(tmp_path / "mask.nii.gz").header["xyzt_units"] == scan.nifti["xyzt_units"]


def test_sizes_that_differ_slightly_are_those_of_pixdim_as_in_itk(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    path.write_bytes(nifti((CODES, "h", (1, 1)), (SROW, "f", (2.05, 0, 0, 3, 0, 2, 0, 4, 0, 0, 4.9, 5))))
    assert read_scan(path).spacing == pytest.approx((2, 2, 5))
    assert read_scan(path).spacing == pytest.approx(sitk.ReadImage(str(path)).GetSpacing())


def test_pixdim_may_be_believed_over_the_affine(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii"
    path.write_bytes(nifti((CODES, "h", (0, 1)), (SROW, "f", (1, 0, 0, 3, 0, -1, 0, 4, 0, 0, 1, 5))))
    affine = read_nifti(path, sizes_from_pixdim=True).affine
    assert np.array_equal(affine, [[2, 0, 0, 3], [0, -2, 0, 4], [0, 0, 5, 5], [0, 0, 0, 1]])


def test_the_limit_is_raised_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)).save(tmp_path / "tile.png")
    for size, fits in ((2e-4, False), (2e-3, True)):
        monkeypatch.setenv(MAX_SCAN_GB, str(size))
        if fits:
            assert read_scan(tmp_path / "tile.png").colour
        else:
            with pytest.raises(WssegError, match="300 x 300 x 3 values"):
                read_scan(tmp_path / "tile.png")
    for nonsense in ("0", "-1", "nan", "much"):
        monkeypatch.setenv(MAX_SCAN_GB, nonsense)
        with pytest.raises(WssegError, match=MAX_SCAN_GB):
            read_scan(tmp_path / "tile.png")


@pytest.mark.parametrize("spoil", [lambda png: flipped(png, 0.5), lambda png: flipped(png, 0.9)])
def test_the_checksums_of_a_png_are_verified(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "tile.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 30, 3), np.uint8)).save(path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(WssegError, match="cannot be read as a picture"):
        read_scan(path)
