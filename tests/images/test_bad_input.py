"""Every bad file is refused in one sentence."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from volumes import VOLUMES, noise, save
from wsseg.errors import NotFoundError, WssegError
from wsseg.images.formats.table import read_volume, write_mask
from wsseg.images.scan import read_scan
from wsseg.images.volume import SliceGrid, Volume


def _truncated(folder: Path, name: str, part: float) -> Path:
    path = folder / name
    write_mask(path, Volume(noise((16, 16, 16), "uint8"), np.eye(4)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return path


def _bytes(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def _patched(folder: Path, offset: int, content: bytes) -> Path:
    """A NIfTI file with some bytes of its header replaced."""
    path = save(folder / "scan.nii", noise((4, 5, 6)))
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(whole)
    return path


def _int16(*values: int) -> bytes:
    return np.array(values, "<i2").tobytes()


def _float32(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def _odd(folder: Path, value: float, dtype: str = "float32") -> Path:
    voxels = noise((3, 4, 5), dtype)
    voxels[1, 1, 1] = value
    return save(folder / "scan.nii.gz", voxels)


def _rgb(folder: Path) -> Path:
    voxels = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def _nrrd(folder: Path, voxels: np.ndarray, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=vector), str(folder / "scan.nrrd"))
    return folder / "scan.nrrd"


def _sform(folder: Path, axes: list[list[float]]) -> Path:
    return _patched(folder, 280, _float32(*np.hstack([axes, np.zeros((3, 1))]).ravel()))


def _folder(folder: Path) -> Path:
    (folder / "scan.nii.gz").mkdir()
    return folder / "scan.nii.gz"


def _png(folder: Path) -> Path:
    Image.new("L", (8, 8)).save(folder / "scan.png")
    return (folder / "scan.png").rename(folder / "scan.nii.gz")


def _truncated_tif(folder: Path) -> Path:
    """Cut within the header, of which Pillow warns."""
    Image.new("RGB", (8, 8)).save(folder / "whole.tif")
    return _bytes(folder, "scan.tif", (folder / "whole.tif").read_bytes()[:60])


GARBAGE = np.random.default_rng(0).bytes(5000)
DAMAGED = "cannot be read as|damaged|cut off"

BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda f: f / "scan.nii.gz", "no such file"),
    "name too long": (lambda f: f / ("x" * 300 + ".nii.gz"), "cannot be read"),
    "unknown type": (lambda f: _bytes(f, "scan.txt", b"x"), "unknown file type"),
    "a folder": (_folder, "cannot be read"),
    "empty nii": (lambda f: _bytes(f, "scan.nii", b""), DAMAGED),
    "empty nii.gz": (lambda f: _bytes(f, "scan.nii.gz", b""), DAMAGED),
    "empty gzip": (lambda f: _bytes(f, "scan.nii.gz", gzip.compress(b"")), DAMAGED),
    "empty nrrd": (lambda f: _bytes(f, "scan.nrrd", b""), DAMAGED),
    "truncated gzip": (lambda f: _truncated(f, "scan.nii.gz", 0.6), DAMAGED),
    "gzip truncated in its header": (lambda f: _truncated(f, "scan.nii.gz", 0.004), DAMAGED),
    "truncated nii": (lambda f: _truncated(f, "scan.nii", 0.6), DAMAGED),
    "nii truncated in its header": (lambda f: _truncated(f, "scan.nii", 0.05), DAMAGED),
    "truncated nrrd": (lambda f: _truncated(f, "scan.nrrd", 0.6), DAMAGED),
    "truncated tif": (_truncated_tif, "cannot be read as a picture"),
    "garbage nii": (lambda f: _bytes(f, "scan.nii", GARBAGE), DAMAGED),
    "garbage nii.gz": (lambda f: _bytes(f, "scan.nii.gz", GARBAGE), DAMAGED),
    "gzipped garbage": (lambda f: _bytes(f, "scan.nii.gz", gzip.compress(GARBAGE)), DAMAGED),
    "garbage nrrd": (lambda f: _bytes(f, "scan.nrrd", GARBAGE), DAMAGED),
    "text": (lambda f: _bytes(f, "scan.nii", b"case,slice,tumor\n" * 100), DAMAGED),
    "text nrrd": (lambda f: _bytes(f, "scan.nrrd", b"NRRD0004\nnothing: else\n\n"), DAMAGED),
    "a picture": (_png, DAMAGED),
    "unknown voxel type": (lambda f: _patched(f, 70, _int16(999)), DAMAGED),
    "voxels beyond the end": (lambda f: _patched(f, 42, _int16(400, 500, 600)), DAMAGED),
    "absurd size": (lambda f: _patched(f, 40, _int16(7, *[32767] * 7)), DAMAGED + "|dimensions"),
    "negative size": (lambda f: _patched(f, 42, _int16(-4)), "is empty, its size is -4"),
    "4-D": (lambda f: save(f / "scan.nii.gz", noise((3, 4, 5, 2))), "has 4 dimensions"),
    "1-D": (lambda f: _patched(f, 40, _int16(1, 4)), "has 1 dimensions"),
    "zero-size": (lambda f: _patched(f, 42, _int16(0)), "is empty, its size is 0 x 5 x 6"),
    "NaN": (lambda f: _odd(f, np.nan), "holds NaN or infinite voxels"),
    "infinite": (lambda f: _odd(f, -np.inf), "holds NaN or infinite voxels"),
    "beyond float32": (lambda f: _odd(f, 1e300, "float64"), "holds NaN or infinite voxels"),
    "constant": (lambda f: save(f / "scan.nii", np.full((3, 4, 5), 7, "int16")), "every voxel is 7"),
    "one voxel": (lambda f: save(f / "scan.nii", noise((1, 1, 1))), "every voxel is"),
    "constant nrrd": (lambda f: _nrrd(f, np.full((3, 4, 5), 7, "int16")), "every voxel is 7"),
    "RGB": (_rgb, "is a colour image"),
    "RGB nrrd": (lambda f: _nrrd(f, noise((3, 4, 5, 3), "uint8"), vector=True), "is a colour"),
    "4-D nrrd": (lambda f: _nrrd(f, noise((2, 3, 4, 5))), "has 4 dimensions"),
    "complex": (lambda f: save(f / "scan.nii", noise((3, 4, 5), "complex64")), "holds complex values"),
    "complex nrrd": (lambda f: _nrrd(f, noise((3, 4, 5), "complex64")), "colour or vector image"),
    "an axis of no length": (lambda f: _sform(f, [[1, 0, 0], [0, 1, 0], [0, 0, 0]]), "not a valid transform"),
    "axes in one plane": (lambda f: _sform(f, [[1, 0, 1], [0, 1, 1], [2, 1, 3]]), "not a valid transform"),
    "NaN affine": (lambda f: _patched(f, 280, _float32(np.nan)), "not a valid transform"),
}


class TestBadInput:
    @pytest.mark.parametrize("name", BAD)
    def test_one_sentence_that_names_the_file(self, name: str, tmp_path: Path) -> None:
        make, reason = BAD[name]
        path = make(tmp_path)
        with pytest.raises(WssegError, match=reason) as caught:
            read_scan(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message

    def test_libraries_add_nothing_to_the_sentence(self, tmp_path: Path) -> None:
        # In a process of its own, since pytest takes the place of the stream that they write to.
        script = """
import sys
from pathlib import Path
from wsseg.errors import WssegError
from wsseg.images.scan import read_scan
for path in sys.argv[1:]:
    try:
        read_scan(Path(path))
    except WssegError as error:
        print(error)
"""
        paths = []
        for name in ("unknown voxel type", "garbage nii", "truncated nrrd", "truncated tif", "beyond float32", "NaN"):
            (tmp_path / name).mkdir()
            paths.append(BAD[name][0](tmp_path / name))
        done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, encoding="utf-8")
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) == len(paths)

    def test_missing_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError) as caught:
            read_volume(tmp_path / "scan.nii.gz")
        assert caught.value.status == 404

    def test_a_mask_may_be_constant(self, tmp_path: Path) -> None:
        path = save(tmp_path / "mask.nii", np.zeros((3, 4, 5), "uint8"))
        assert not read_volume(path).voxels.any()

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_any_damage_gives_a_volume_or_a_sentence(self, data: st.DataObject) -> None:
        extension = data.draw(st.sampled_from(VOLUMES))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"scan{extension}"
            write_mask(path, Volume(noise((4, 5, 6), "uint8"), np.diag([-1.0, -1, 5, 1])))
            content = bytearray(path.read_bytes())
            places = st.tuples(st.integers(0, len(content) - 1), st.sampled_from([0, 1, 10, 48, 127, 128, 255]))
            for place, byte in data.draw(st.lists(places, min_size=1, max_size=4)):
                content[place] = byte
            path.write_bytes(
                content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content
            )
            with suppress(WssegError):
                volume = read_scan(path)
                grid = SliceGrid.of(volume)
                assert np.array_equal(grid.join(grid.cut(volume.voxels)), volume.voxels)
