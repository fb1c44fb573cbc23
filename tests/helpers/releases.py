"""Small public releases, made up by the rules of the real ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from wsseg.data.importers import IMPORTERS

RNG = np.random.default_rng(0)


def noise(*shape: int, dtype: str = "int16") -> np.ndarray:
    return RNG.integers(1, 200, shape).astype(dtype)


def run(release: str, source: Path, out: Path) -> int:
    """Import, and hold what every importer promises: progress rises to 1, no draft is left."""
    told: list[float] = []
    count = IMPORTERS[release](source, out, told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert not list(out.glob(".*"))
    return count


def voxels(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def save(path: Path, array: np.ndarray, affine: Any = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 1, 1]) if affine is None else affine), path)


def make_kaggle(source: Path, case: str = "TCGA_AB_1234_20000101", slices: int = 12) -> Path:
    """A patient whose FLAIR is noise plus the slice's number, with tumour on slices 3 and 11."""
    folder = source / case
    folder.mkdir(parents=True)
    for number in range(1, slices + 1):
        picture = noise(6, 5, 3, dtype="uint8")
        picture[0, 0, 1] = number
        Image.fromarray(picture).save(folder / f"{case}_{number}.tif", compression="tiff_lzw")
        mask = np.zeros((6, 5), np.uint8)
        mask[2, 3] = 255 * (number in (3, 11))
        Image.fromarray(mask).save(folder / f"{case}_{number}_mask.tif")
    return folder


def make_acdc(source: Path, scribble: np.ndarray | None = None) -> np.ndarray:
    """One frame whose affine says 1 mm and whose header the truth, with a mask."""
    folder = source / "patient007"
    scan = noise(6, 5, 4)
    save(folder / "patient007_frame01.nii", scan)
    content = bytearray((folder / "patient007_frame01.nii").read_bytes())
    content[80:92] = np.array([1.5, 1.25, 10], "<f4").tobytes()  # pixdim
    (folder / "patient007_frame01.nii").write_bytes(content)
    save(folder / "patient007_4d.nii.gz", noise(6, 5, 4, 2))
    save(folder / "patient007_frame01_gt.nii.gz", RNG.integers(0, 4, (6, 5, 4)).astype("uint8"))
    (folder / "Info.cfg").write_text("ED: 1\n", encoding="utf-8")
    if scribble is not None:
        save(folder / "patient007_frame01_scribble.nii.gz", scribble)
    return scan


def make_brats(source: Path, scan: str, seg: str, mask: np.ndarray) -> np.ndarray:
    """One case, ``scan`` and ``seg`` being the files' names without ending."""
    folder = source / re.split("_flair|-t2f", scan)[0]
    flair = noise(*mask.shape)
    save(folder / f"{scan}.nii.gz", flair)
    save(folder / f"{scan.replace('flair', 't1').replace('t2f', 't1c')}.nii.gz", noise(*mask.shape))
    if seg:
        save(folder / f"{seg}.nii.gz", mask)
    return flair


SQUARE = [(2, 3), (2, 8), (9, 8), (9, 3)]
"""x, y of an outline."""


def make_monuseg(source: Path, flat: bool = False, suffix: str = ".tif") -> np.ndarray:
    pictures = source if flat else source / "Tissue Images"
    annotations = source if flat else source / "Annotations"
    for folder in (pictures, annotations):
        folder.mkdir(parents=True, exist_ok=True)
    picture = noise(16, 20, 3, dtype="uint8")
    Image.fromarray(picture).save(pictures / f"tile{suffix}")
    vertices = "".join(f'<Vertex X="{x}.0" Y="{y}.0"/>' for x, y in SQUARE)
    region = f"<Region><Vertices>{vertices}</Vertices></Region><Region><Vertices/></Region>"
    (annotations / "tile.xml").write_text(
        f"<Annotations><Annotation><Regions>{region}</Regions></Annotation></Annotations>", encoding="utf-8"
    )
    return picture
