"""Small pictures, sound ones and broken ones, for the tests of readers and of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from PIL import Image

from conftest import tissue

PICTURE, MASK = tissue(seed=3, width=40, height=24)


def saved(path: Path, pixels: np.ndarray = PICTURE, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def wrong_pictures(folder: Path) -> dict[str, Path]:
    """Files that cannot be read as 8-bit pictures, by what is said of them."""
    whole = saved(folder / "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.png").unlink()
    (folder / "words.jpg").write_text("not a picture", encoding="utf-8")
    (folder / "empty.tif").touch()
    saved(folder / "deep.png", (MASK * 1000).astype(np.uint16))
    saved(folder / "float.tif", MASK.astype(np.float32))
    for name in ("deep_colours.png", "deep_colours.tif"):  # which Pillow would cut to 8 bits
        sitk.WriteImage(sitk.GetImageFromArray(PICTURE.astype(np.uint16) * 257, isVector=True), str(folder / name))
    saved(folder / "drawing.eps").rename(folder / "drawing.png")
    saved(folder / "pages.tif", save_all=True, append_images=[Image.fromarray(PICTURE)] * 2)
    damaged, deep = "cannot be read as a picture, it may be damaged", "has more than 8 bits a channel, save it with 8"
    said = {"cut.png": damaged, "words.jpg": damaged, "empty.tif": damaged, "deep.png": deep, "float.tif": deep}
    said |= {"deep_colours.png": deep, "deep_colours.tif": deep}
    said |= {"drawing.png": f"{damaged} (cannot identify", "pages.tif": "holds 3 pictures, save one in a file"}
    return {f"{name}: {sentence}": folder / name for name, sentence in said.items()}
