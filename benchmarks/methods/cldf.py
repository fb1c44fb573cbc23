"""CLDF's choices against each other: each row trains a decoder with one thing changed and scores it on other scans.

All rows share the heat maps that seeds are voted on by, the training seed and
a short schedule without self-training, except where the row says so; so they
compare with each other, not with the shipped model. Presence is given; HD95 in
mm; the spread is over noise seeds.

    python benchmarks/methods/cldf.py --train DIR --data DIR [--steps 150] [--only NAME]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import Progress
from torch import Tensor

from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, load_slices
from wsseg.evaluation.evaluate import evaluate
from wsseg.inference.segmenter import Segmenter
from wsseg.methods.cldf import CLDF
from wsseg.methods.prompt import Pass
from wsseg.methods.registry import adopt_parents, create_method, stored_weights
from wsseg.models.package import ModelPackage, read_package, write_package
from wsseg.models.shelf import find_package
from wsseg.training.loop import train
from wsseg.training.settings import TrainSettings

PREDICTION = {"readout", "edge_mm", "slice_blur"}
"""What training does not depend on: rows that change nothing else score the reference's weights."""

ROWS: dict[str, dict[str, Any]] = {
    "reference": {},
    "reference, training seed 1": {"seed": 1},
    "reference, training seed 2": {"seed": 2},
    "seeds: gradient map only": {"maps": ("gradient",)},
    "seeds: CAM only": {"maps": ("cam",)},
    "seeds: condition derivative only": {"maps": ("derivative",)},
    "seeds: gradient map and CAM": {"maps": ("gradient", "cam")},
    "noise level 0.2 alone": {"sigmas": (0.2,)},
    "noise level 0.5 alone": {"sigmas": (0.5,)},
    "finest level alone": {"levels": (3,)},
    "two finest levels": {"levels": (2, 3)},
    "loss: contrast, prototypes fitted to it": {"loss": "contrastive"},
    "loss: cross-entropy alone": {"loss": "cross-entropy"},
    "readout: clusters of each slice": {"readout": "clusters"},
    "borders: decoder does not see the image itself": {"native": False},
    "borders: no guided filter": {"edge_mm": 0.0},
    "no smoothing over slices": {"slice_blur": 0.0},
    "with self-training, as many steps again": {"self_rounds": 1},
}
"""What each row changes in the package; the reference is the package's own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="cldf-glioma-flair")
    parser.add_argument("--train", type=Path, required=True, help="scans and image_labels.csv")
    parser.add_argument("--data", type=Path, required=True, help="scans with masks, for the scores")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=2, help="noise seeds")
    parser.add_argument("--only", default="", help="part of a row's name")
    arguments = parser.parse_args()
    package = find_package(arguments.model)
    recipe = package.recipe
    data = load_slices(arguments.train, package.labels, View.of(recipe), (PRESENCE,))
    print(f"{arguments.steps} steps, 1 training seed, {arguments.seeds} noise seeds")
    print("| row | Dice | HD95 mm |\n|---|---|---|", flush=True)
    for name, changes in ROWS.items():
        if arguments.only in name:
            short = {"seed_steps": arguments.steps, "self_steps": arguments.steps, "self_rounds": 0}
            trained = _train(package, data, short | changes)
            found = {
                row.what: row
                for row in evaluate(Segmenter(trained.folder), arguments.data, "presence", arguments.seeds).table()
            }
            dice, hd95 = found["Dice, positive slices"], found["HD95 mm, positive slices"]
            print(f"| {name} | {dice.mean:.3f} ± {dice.spread:.3f} | {hd95.mean:.1f} ± {hd95.spread:.1f} |", flush=True)


def _train(package: ModelPackage, data: LabelledSlices, changes: dict[str, Any]) -> ModelPackage:
    """The package's method with changed settings, trained from random weights; in a folder of its own."""
    metadata = package.metadata.model_copy(deep=True)
    metadata.wsseg.edge_mm = changes.pop("edge_mm", metadata.wsseg.edge_mm)
    seed = changes.pop("seed", 0)
    metadata.wsseg.settings |= changes
    folder = Path(tempfile.mkdtemp(prefix="wsseg-cldf-"))
    changed = ModelPackage(package.name, package.folder, metadata)
    method = create_method(changed, seed)
    assert isinstance(method, CLDF)
    adopt_parents(method, changed, method.frozen)
    _share_maps(method)
    training = repr((seed, sorted((key, value) for key, value in changes.items() if key not in PREDICTION)))
    if training not in _weights:
        train(method, data, TrainSettings(folder=folder / "run", seed=seed))
        _weights[training] = stored_weights(method)
    write_package(folder / "model", metadata, _weights[training], "", "")
    return read_package(folder / "model")


def _share_maps(method: CLDF) -> None:
    """Let all rows use the maps that the first one computed: they come from the frozen parts alone."""
    compute = method.raw_map

    def shared(kind: str, small: Tensor, slices: Tensor, k: int, pass_: Pass) -> Tensor:
        if (kind, k) not in _maps:
            with Progress(transient=True) as bar:
                task = bar.add_task(f"{kind} maps", total=1.0)
                told = replace(pass_, progress=lambda part: bar.update(task, completed=part))
                _maps[kind, k] = compute(kind, small, slices, k, told)
        return _maps[kind, k]

    method.raw_map = shared  # type: ignore[method-assign]


_maps: dict[tuple[str, int], Tensor] = {}
_weights: dict[str, dict[str, Tensor]] = {}


if __name__ == "__main__":
    main()
