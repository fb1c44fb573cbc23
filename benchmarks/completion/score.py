"""How near completed strokes, points and boxes come to masks, on the slices that they were drawn on.

    python benchmarks/completion/score.py --data abdomen_t2/train --masks abdomen_t2/few_masks
        [--modality CT] [--package DIR]

DATA has scans with weak labels as training reads them, MASKS `<scan>_label` of some.
Dice is of each class over such slices of a scan, everything at the pixels that the union
learner would choose for DATA; then, of what is surely a class or background beyond
what was drawn, the part that is right; and the area of each class in squares of how far its
strokes reach, of which `losses/size.py` takes its bound, or in what its boxes tell of it, of
which `methods/shared/sizes.py` does, or its points, of which the plan does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from wsseg.data.kinds.registry import KINDS, kinds_named
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, load_slices
from wsseg.data.targets import Targets
from wsseg.images.folder import scan_files
from wsseg.labels.space import BACKGROUND
from wsseg.labels.tables import PRESENCE_FILE, classes_in
from wsseg.losses.size import squared_reach
from wsseg.methods.prompt import Pass
from wsseg.methods.registry import load_method
from wsseg.methods.shared.labelling.completion import completed, sure_of
from wsseg.methods.shared.sizes import FILLED, area_bounds
from wsseg.models.shelf import find_package
from wsseg.training.planning.plan import plan_for


def main() -> None:
    """Print a row for each kind of label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--package", default="completion")
    parser.add_argument("--modality", default="MR")
    asked = parser.parse_args()
    network = load_method(find_package(asked.package)).get_submodule("network")
    labels = classes_in(asked.data / PRESENCE_FILE)
    print(f"| labels | {' | '.join(labels.names)} | mean | sure of a class: right | sure of background: right |")
    print("|" + "---|" * (len(labels) + 4))
    with TemporaryDirectory() as name:
        both = beside(asked.data, asked.masks, Path(name))
        for kind in ("scribbles", "points", "boxes"):
            if not KINDS[kind].in_folder(both, scan_files(both), labels):
                continue
            plan = plan_for(asked.data, labels, asked.modality, kinds_named([kind]))
            view = View(plan.size, bright=plan.bright, windows=plan.windows)
            drawn, masks = (load_slices(both, labels, view, kinds_named([each])) for each in (kind, "masks"))
            masks = masks.only(set(drawn.cases))
            print(f"| {kind} | {row(network, drawn, masks.targets.pixels, len(labels))} |", flush=True)
            found = areas(kind, drawn.targets, masks.targets.pixels)
            print(f"| area in what {kind} tell | {' | '.join(f'{area:.2f}' for area in found)} | | | |", flush=True)


def beside(data: Path, masks: Path, folder: Path) -> Path:
    """A folder of links to scans that have a mask, with it and all their labels."""
    cases = [file.name.split("_label.")[0] for file in masks.glob("*_label.*")]
    files = {file.name: file for file in [*data.iterdir(), *masks.glob("*_label.*")]}
    for file in files.values():
        if file.suffix == ".csv" or any(file.name.startswith((f"{case}.", f"{case}_")) for case in cases):
            (folder / file.name).symlink_to(file.resolve())
    return folder


def areas(kind: str, drawn: Targets, truth: Tensor) -> list[float]:
    """Of each class on slices that tell it, in squares of how far strokes reach, or in what boxes or points tell."""
    if kind == "boxes":
        told = area_bounds(drawn)[1] / FILLED[1]
    elif kind == "points":
        told = drawn.about
    else:
        reach = [squared_reach(drawn.pixels == k + 1) for k in range(drawn.presence.shape[1])]
        told = torch.stack(reach, dim=1) * drawn.stroked
    return [float((truth[own > 0] == k + 1).sum() / own.sum()) for k, own in enumerate(told.unbind(dim=1))]


def row(network: nn.Module, drawn: LabelledSlices, truth: Tensor, classes: int) -> str:
    """The cells of a kind of label."""
    counts = np.zeros((len(drawn.cases), classes, 3))
    right = np.zeros((2, 2))
    drawn = drawn.with_implied()
    for index, probability in completed(network, drawn, Pass(32)):
        given, mask = drawn.targets.pixels[index], truth[index]
        best, k = probability.max(dim=0)
        made = torch.where(given == BACKGROUND, 0, torch.where(given > 0, given.long(), (k + 1) * (best > 0.5)))
        for label in range(1, classes + 1):
            found, wanted = made == label, mask == label
            counts[drawn.case[index], label - 1] += [int((found & wanted).sum()), int(found.sum()), int(wanted.sum())]
        sure = torch.where(given == 0, sure_of(probability, drawn.targets.at(torch.tensor([index]))), 0)
        for place, where in enumerate(((sure > 0) & (sure < BACKGROUND), sure == BACKGROUND)):
            right[place] += [int((where & (sure == mask)).sum()), int(where.sum())]
    dice = np.nanmean(2 * counts[..., 0] / (counts[..., 1] + counts[..., 2]), axis=0)
    cells = [*dice, dice.mean(), *(right[:, 0] / right[:, 1].clip(min=1))]
    return " | ".join(f"{cell:.3f}" for cell in cells)


if __name__ == "__main__":
    main()
