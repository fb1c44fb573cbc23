"""Every file that pydicom, nibabel and scikit-image ship for their own tests; highdicom's wheel holds none.

Each gives one sentence, or a scan whose masks come back as they were written.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pydicom
import pytest
import skimage
from pydicom import dcmread

from wsseg.errors import WssegError
from wsseg.images.formats.table import EXTENSIONS, read_volume
from wsseg.images.scan import Scan, read_any, write_any
from wsseg.images.segments import Segments
from wsseg.labels.space import Code, Label

CODE = Code(value="91772007", scheme="SCT", meaning="Anatomical Structure")
SEGMENTS = Segments({"bright": Label(color=(200, 30, 60), category=CODE, type=CODE)}, "a threshold", "1")

EVERY = 5
"""One file in so many is tried by the quick command."""


def shipped(root: Path, *endings: str) -> list[Path]:
    """The files under a folder that are no code and have one of some endings, if any are given."""
    found = [file for file in sorted(root.rglob("*")) if file.is_file() and file.suffix not in (".py", ".pyc")]
    return [file for file in found if not endings or file.name.lower().endswith(endings)]


PYDICOM = Path(pydicom.__file__).parent / "data"
FILES = (
    shipped(PYDICOM)  # DICOM has no ending of its own
    + shipped(Path(nibabel.__file__).parent, ".dcm", *EXTENSIONS)
    + shipped(Path(skimage.__file__).parent, *EXTENSIONS)
)
SERIES = sorted({file.parent for file in shipped(PYDICOM / "test_files" / "dicomdirtests")})
LEAST = {pydicom: 38, nibabel: 4, skimage: 24}
"""So many files of each can be read: a reader that refuses all would pass else."""


def opened(path: Path, folder: Path) -> Scan | None:
    """A shipped file, DICOM as a series of its own; None if it is refused in a sentence about it."""
    if path.is_file() and not path.name.lower().endswith(EXTENSIONS):
        (folder / "series").mkdir(parents=True)
        path = Path(shutil.copy(path, folder / "series")).parent
    try:
        return read_any(path)
    except WssegError as error:
        refusal = str(error)
    assert str(path) in refusal
    assert "\n" not in refusal
    return None


def check_masks(scan: Scan, folder: Path) -> None:
    """Write what is bright in every format that the scan's masks can have, and read it again."""
    volume = scan.volume
    grey = volume.voxels[..., 0] if volume.colour else volume.voxels
    mask = volume.like((grey > grey.mean()).astype(np.uint8))
    assert mask.voxels.any()
    for ending in ("nii.gz", "nrrd", *(["png"] if volume.picture else [])):
        out = folder / f"mask.{ending}"
        write_any(out, mask, scan, SEGMENTS)
        found = read_volume(out)
        assert np.array_equal(found.voxels > 0, mask.voxels > 0)
        assert np.allclose(found.affine, volume.affine, rtol=1e-5, atol=1e-3)
    if scan.series and "FrameOfReferenceUID" not in scan.series.sources[0]:  # which a SEG must name
        with pytest.raises(WssegError, match="cannot refer to it"):
            write_any(folder / "mask.dcm", mask, scan, SEGMENTS)
    elif scan.series:
        write_any(folder / "mask.dcm", mask, scan, SEGMENTS)
        seg = dcmread(folder / "mask.dcm")
        assert seg.pixel_array.sum() == mask.voxels.sum()
        assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == scan.series.series_uid


def name(path: Path) -> str:
    """Of a test: the wheel's part of a path."""
    return str(path.relative_to(Path(pydicom.__file__).parents[1]))


@pytest.mark.filterwarnings(
    "ignore::UserWarning:pydicom", "ignore::DeprecationWarning:pydicom", "ignore:.*:UserWarning:highdicom"
)
@pytest.mark.parametrize("path", FILES[::EVERY] + SERIES[:2], ids=name)
def test_some_shipped_files(path: Path, tmp_path: Path) -> None:
    scan = opened(path, tmp_path)
    if scan:
        check_masks(scan, tmp_path)


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore::UserWarning:pydicom", "ignore::DeprecationWarning:pydicom", "ignore:.*:UserWarning:highdicom"
)
@pytest.mark.parametrize("wheel", LEAST, ids=lambda wheel: wheel.__name__)
def test_all_shipped_files(wheel: ModuleType, tmp_path: Path) -> None:
    root = Path(str(wheel.__file__)).parent
    read = 0
    for number, path in enumerate(path for path in FILES + SERIES if root in path.parents):
        folder = tmp_path / str(number)
        folder.mkdir()
        scan = opened(path, folder)
        if scan:
            check_masks(scan, folder)
            read += 1
        shutil.rmtree(folder)
    assert read >= LEAST[wheel]


def test_pixels_may_be_padded_with_zeros(tmp_path: Path) -> None:
    """A length that was rounded up is no other size."""
    scans = [opened(PYDICOM / "test_files" / file, tmp_path / file) for file in ("MR_small.dcm", "MR_small_padded.dcm")]
    assert scans[0]
    assert scans[1]
    assert np.array_equal(scans[0].volume.voxels, scans[1].volume.voxels)


def test_slabs_may_be_thicker_than_their_distance(tmp_path: Path) -> None:
    """Positions say how far apart slices lie; thickness counts where there is but one."""
    files = sorted((PYDICOM / "test_files" / "dicomdirtests" / "98892001" / "CT5N").iterdir())
    for file in files:
        header = dcmread(file)
        header.SliceThickness = 150
        header.save_as(tmp_path / file.name)
    assert read_any(tmp_path).volume.spacing == read_any(files[0].parent).volume.spacing
    for file in files[1:]:
        (tmp_path / file.name).unlink()
    with pytest.raises(WssegError, match="SliceThickness says 150 mm"):
        read_any(tmp_path)
