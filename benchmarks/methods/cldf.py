"""CLDF's choices against each other: each row trains a decoder with one thing changed, over training seeds.

All rows share the heat maps that speak for seeds, and steps; settings are the package's else.
Trained without masks, a decoder is scored on other scans by its own masks, nothing given:
the regions that a prediction averages them with hardly depend on it.
Dice is that of positive slices, mean per patient, with its interval of 95 % over patients.

    python benchmarks/methods/cldf.py MODEL --train DIR --val DIR --run DIR [--seeds 3] [--steps 100] [--only TEXT]

Every training leaves a small file in the run folder, so an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from common import interval, kept, spread
from rich.progress import Progress
from torch import Tensor

from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.preprocess import View
from wsseg.data.slices import load_slices
from wsseg.evaluation.evaluate import evaluate
from wsseg.files import make_folder
from wsseg.inference.segmenter import Segmenter
from wsseg.methods.cldf import CLDF
from wsseg.methods.prompt import Pass
from wsseg.methods.registry import adopt_parents, create_method, stored_weights
from wsseg.methods.shared.labelling import regions
from wsseg.models.package import ModelPackage, write_package
from wsseg.models.shelf import find_package
from wsseg.training.loop import train
from wsseg.training.settings import TrainSettings


@dataclass(frozen=True)
class Choice:
    """What a row changes in the package.

    Attributes:
        settings: of the method.
        random: the network whose features are looked at has random weights; seeds are those of the trained one.
    """

    settings: dict[str, Any]
    random: bool = False


ROWS = {
    "as it ships": Choice({}),
    "loss: cross-entropy alone": Choice({"loss": "cross-entropy"}),
    "features: of a network with random weights": Choice({}, random=True),
    "seeds alone, no self-training": Choice({"self_rounds": 0}),
    "loss: contrast, prototypes fitted to it": Choice({"loss": "contrastive"}),
    "decoder does not see the image itself": Choice({"native": False}),
    "seeds: condition derivative alone": Choice({"maps": ("derivative",)}),
    "seeds: gradient map alone": Choice({"maps": ("gradient",)}),
    "seeds: CAM alone": Choice({"maps": ("cam",)}),
    "noise level 0.2 alone": Choice({"sigmas": (0.2,)}),
    "finest level alone": Choice({"levels": (3,)}),
}


@dataclass(frozen=True)
class Score:
    """Of one training: Dice of positive slices by patient, and mean HD95 over positive slices."""

    patients: dict[str, float]
    hd95_mm: float

    @property
    def dice(self) -> float:
        """Mean over patients."""
        return float(np.mean(list(self.patients.values())))


class Bench:
    """The data and the heat maps that all trainings share."""

    def __init__(self, package: ModelPackage, train_folder: Path, val_folder: Path, run: Path, steps: int) -> None:
        self.package, self.val, self.run, self.steps = package, val_folder, run, steps
        self.data = load_slices(train_folder, package.labels, View.of(package.recipe), (PRESENCE,))
        self._whole = self._method(Choice({}), 0)
        self._maps: dict[tuple[str, int], Tensor] = {}

    def score(self, row: str, seed: int) -> Score:
        """From its file where it was done before."""
        file = self.run / f"{self.steps}-{crc32(repr(ROWS[row]).encode()):08x}-{seed}.json"
        return kept(file, Score, self._train, ROWS[row], seed)

    def _train(self, choice: Choice, seed: int) -> Score:
        method = self._method(choice, seed)
        method.raw_map = self._shared_map  # type: ignore[method-assign]
        metadata = self._package(choice).metadata
        with tempfile.TemporaryDirectory(prefix="wsseg-cldf-") as name:
            folder = Path(name)
            train(method, self.data, TrainSettings(folder=folder, seed=seed))
            write_package(folder / "model", metadata, stored_weights(method), "", "")
            slices = evaluate(Segmenter(folder / "model"), self.val, seeds=1).slices
        patients: dict[str, list[float]] = {}
        for one in slices:
            patients.setdefault(one.case, []).append(one.dice)
        dice = {patient: float(np.mean(values)) for patient, values in patients.items()}
        return Score(dice, float(np.mean([one.hd95_mm for one in slices])))

    def _method(self, choice: Choice, seed: int) -> CLDF:
        package = self._package(choice)
        method = create_method(package, seed)
        assert isinstance(method, CLDF)
        adopt_parents(method, package, [part for part in method.frozen if not (choice.random and part == "diffusion")])
        return method

    def _package(self, choice: Choice) -> ModelPackage:
        metadata = self.package.metadata.model_copy(deep=True)
        short = {"seed_steps": self.steps, "self_steps": self.steps}
        metadata.wsseg.settings = {**metadata.wsseg.settings, **short, **choice.settings}
        return ModelPackage(self.package.name, self.package.folder, metadata)

    def _shared_map(self, kind: str, small: Tensor, slices: Tensor, k: int, pass_: Pass) -> Tensor:
        """Of the trained networks, computed for the first row that wants it."""
        if (kind, k) not in self._maps:
            self._maps[kind, k] = self._whole.eval().raw_map(kind, small, slices, k, pass_)
        return self._maps[kind, k]


def main() -> None:
    """Run what is left to be done and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    for folder in ("--train", "--val", "--run"):
        parser.add_argument(folder, type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of each stage")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    asked = parser.parse_args()
    make_folder(asked.run)
    regions.AGREED = math.inf  # none is averaged in
    bench = Bench(find_package(asked.model), asked.train, asked.val, asked.run, asked.steps)
    rows = [row for row in ROWS if asked.only in row]
    plan = [(row, seed) for seed in range(asked.seeds) for row in rows]
    with Progress() as bar:
        scores = {one: bench.score(*one) for one in bar.track(plan, description="training")}
    print(f"{asked.steps} steps a stage, mean and deviation over training seeds\n")
    columns = ("row", "seeds", "Dice", "95 % over patients", "HD95 mm")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for row in rows:
        found = [scores[row, seed] for seed in range(asked.seeds)]
        low, high = interval([float(np.mean([s.patients[name] for s in found])) for name in found[0].patients])
        told = [spread([s.dice for s in found]), f"{low:.3f} to {high:.3f}", spread([s.hd95_mm for s in found], 1)]
        print(f"| {row} | {asked.seeds} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
