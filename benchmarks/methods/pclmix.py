"""PCLMix's parts switched on one after the other, over training seeds, all else the same.

Each row trains the package's network anew from random weights: augmentation,
steps and batches are those of every other row, and the last weights are taken
(their moving average, no choice among checkpoints). Then it is scored on scans
that training never saw, whole volumes, nothing given: Dice with its interval of
95 % over patients, and HD95 in mm.

    python benchmarks/methods/pclmix.py MODEL --train DIR --val DIR --run DIR [--seeds 3] [--steps 1000]
        [--full] [--only TEXT]

Every training leaves a small file in the run folder, named by steps, settings
and seed, so an interrupted benchmark goes on where it was. Without ``--full``
the network and its squares are smaller than those of the model that ships: rows
compare with each other, not with it. ``--only`` trains the rows whose name
holds the text.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from common import interval, kept, spread
from rich.progress import Progress

from wsseg.data.kinds.registry import SCRIBBLES
from wsseg.data.preprocess import View
from wsseg.data.slices import held_back_cases, load_slices
from wsseg.evaluation.evaluate import evaluate
from wsseg.files import make_folder
from wsseg.inference.segmenter import Segmenter
from wsseg.methods.pclmix import PCLMixSettings
from wsseg.methods.registry import create_method, stored_weights
from wsseg.models.package import Metadata, ModelPackage, write_package
from wsseg.models.shelf import find_package
from wsseg.training.best import held_back_score
from wsseg.training.loop import train
from wsseg.training.settings import TrainSettings

USUAL = PCLMixSettings()

PUBLISHED: dict[str, Any] = {"soft": False, "drop_path": 0.0, "absence": 0.0, "borders": 0.0}
PARTIAL = PUBLISHED | {"mix": False, "contrast": 0.0, "consistency": 0.0}
MIX = PARTIAL | {"mix": True}
CONTRAST = MIX | {"contrast": USUAL.contrast}
PCLMIX = CONTRAST | {"consistency": USUAL.consistency}
SOFT = PCLMIX | {"soft": True}
DROP_PATH = SOFT | {"drop_path": USUAL.drop_path}
BORDERS = DROP_PATH | {"borders": USUAL.borders}

ROWS: dict[str, dict[str, Any]] = {
    "partial cross-entropy alone": PARTIAL,
    "+ mix and its pseudo-labels": MIX,
    "+ contrast": CONTRAST,
    "+ consistency: PCLMix": PCLMIX,
    "+ soft labels of an averaged teacher": SOFT,
    "+ drop-path": DROP_PATH,
    "+ gated CRF": BORDERS,
    "+ absence: PCLMix as mended": BORDERS | {"absence": USUAL.absence},
    "partial cross-entropy and gated CRF": PARTIAL | {"borders": USUAL.borders},
    "partial cross-entropy and absence": PARTIAL | {"absence": USUAL.absence},
}
"""Settings of each row, which adds to the one before but for the last two; the second decoder comes with the mix."""

SMALL: dict[str, Any] = {"widths": (16, 32, 64, 96, 160), "crop": 96, "turned": False}
"""What makes training short: a smaller network and squares, slices as they lie."""

HELD_BACK = 0.1
"""Part of the training patients that is not trained on: the last weights are scored on its scribbles."""


@dataclass(frozen=True)
class Score:
    """Of one training.

    Attributes:
        held_back: agreement with the scribbles held back, in [0, 1].
        patients: Dice against masks never trained on, by patient, mean over frames and classes.
        hd95_mm: mean over volumes.
    """

    held_back: float
    patients: dict[str, float]
    hd95_mm: float

    @property
    def dice(self) -> float:
        """Mean over patients."""
        return float(np.mean(list(self.patients.values())))


class Bench:
    """The data that all trainings share."""

    def __init__(
        self,
        package: ModelPackage,
        train_folder: Path,
        val_folder: Path,
        run: Path,
        steps: int,
        small: Mapping[str, Any] = SMALL,
    ) -> None:
        self.package, self.val, self.run, self.steps, self.small = package, val_folder, run, steps, small
        slices = load_slices(train_folder, package.labels, View.of(package.recipe), (SCRIBBLES,))
        held = held_back_cases(slices.cases, HELD_BACK)
        self.data, self.held = slices.only(set(slices.cases) - held), slices.only(held)

    def score(self, row: str, seed: int) -> Score:
        """From its file where it was done before."""
        settings = json.dumps(self._metadata(row).wsseg.settings, sort_keys=True).encode()
        file = self.run / f"{self.steps}-{crc32(settings):08x}-{seed}.json"
        return kept(file, Score, self._train, row, seed)

    def _train(self, row: str, seed: int) -> Score:
        metadata = self._metadata(row)
        method = create_method(ModelPackage(self.package.name, self.package.folder, metadata), seed)
        with tempfile.TemporaryDirectory(prefix="wsseg-pclmix-") as name:
            folder = Path(name)
            train(method, self.data, TrainSettings(folder=folder, seed=seed))
            write_package(folder / "model", metadata, stored_weights(method), "", "")
            volumes = evaluate(Segmenter(folder / "model"), self.val, seeds=1).volumes
        held = held_back_score(method, self.held)
        assert held is not None
        patients: dict[str, list[float]] = {}
        for volume in volumes:
            patients.setdefault(re.sub(r"_frame\d+$", "", volume.case), []).append(volume.dice)
        dice = {patient: float(np.mean(values)) for patient, values in patients.items()}
        return Score(held, dice, float(np.mean([volume.hd95_mm for volume in volumes])))

    def _metadata(self, row: str) -> Metadata:
        metadata = self.package.metadata.model_copy(deep=True)
        metadata.wsseg.settings = {**metadata.wsseg.settings, **self.small, **ROWS[row], "steps": self.steps}
        return metadata


def main() -> None:
    """Run what is left to be done and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    for folder in ("--train", "--val", "--run"):
        parser.add_argument(folder, type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--full", action="store_true", help="the package's own network and squares")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    asked = parser.parse_args()
    make_folder(asked.run)
    small = {} if asked.full else SMALL
    bench = Bench(find_package(asked.model), asked.train, asked.val, asked.run, asked.steps, small)
    rows = [row for row in ROWS if asked.only in row]
    plan = [(row, seed) for seed in range(asked.seeds) for row in rows]
    with Progress() as bar:
        scores = {one: bench.score(*one) for one in bar.track(plan, description="training")}
    print(f"{asked.steps} steps, mean and deviation over training seeds\n")
    columns = ("row", "seeds", "agreement with scribbles held back", "Dice", "95 % over patients", "HD95 mm")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for row in rows:
        found = [scores[row, seed] for seed in range(asked.seeds)]
        patients = [float(np.mean([s.patients[name] for s in found])) for name in found[0].patients]
        low, high = interval(patients)
        told = [spread([s.held_back for s in found]), spread([s.dice for s in found])]
        told += [f"{low:.3f} to {high:.3f}", spread([s.hd95_mm for s in found], 1)]
        print(f"| {row} | {asked.seeds} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
