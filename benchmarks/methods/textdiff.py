"""What text, diffusion pretraining and more masks each add to TextDiff, and a plain U-Net with the same masks.

A small head trains on a pool of augmented squares, the same for all runs, since
frozen features of a square are then computed once; then it is scored on tiles
that training never saw, foreground, at full size. ``shuffled`` gives every tile,
those scored included, another sentence than its own. The diffusion model has
seen all training tiles, without masks; the U-Net sees those with masks only, but
is trained on all its weights, with fresh augmentation and three times the steps.

    python benchmarks/methods/textdiff.py MODEL --train DIR --val DIR --run DIR [--seeds 5] [--steps 300] [--plot FILE]

MODEL is a trained package of TextDiff, whose frozen diffusion model is used; its
head is trained anew every time. Every run leaves a small file in the run folder,
so an interrupted benchmark goes on where it was. Prints a table and draws Dice
against the number of tiles with masks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zlib import crc32

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import kept, spread
from rich.progress import Progress as Bar
from torch import Tensor, nn
from torch.nn import functional

from wsseg.data.augment import Variety, stained_tissue
from wsseg.data.kinds.registry import MASKS
from wsseg.data.preprocess import Stack, View, prepare
from wsseg.data.slices import Batch, LabelledSlices, load_slices
from wsseg.data.targets import Targets
from wsseg.evaluation.cases import Case, load_cases
from wsseg.evaluation.metrics import dice_of
from wsseg.files import make_folder
from wsseg.losses.pixels import pixel_cross_entropy, squared_dice
from wsseg.methods.base import Method, Prediction, Stage
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.registry import create_method, load_method
from wsseg.methods.shared.poses import POSES
from wsseg.methods.shared.windows import in_windows
from wsseg.methods.textdiff import TextDiff, TextDiffSettings
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package
from wsseg.networks.shared_unet import SharedUNet
from wsseg.training.loop import train
from wsseg.training.settings import TrainSettings

SIZES = (3, 6, 12, 24)
"""Tiles with masks."""

POOL = 32
"""Augmented squares of each tile, of half the side that the package trains on."""

SMALL = {"batch": 8, "width": 32, "hidden": (32, 16), "poses": 1}
"""Settings of a head that is quick to train."""

PEER_STEPS = 3
"""Steps of the U-Net to one of the head, since all of it begins at random weights."""

UNTOUCHED = Variety(angle=0, scale=0, shift=0, gamma=0, gain=0)


@dataclass(frozen=True)
class Run:
    """One training: the method, its sentences, tiles with masks, seed of weights, batches and choice of tiles."""

    method: str
    text: str
    tiles: int
    seed: int

    @property
    def name(self) -> str:
        """Of the file that its score is kept in."""
        return "-".join(map(str, asdict(self).values()))


@dataclass(frozen=True)
class Score:
    """Of one training: means per tile."""

    dice: float
    iou: float


class Remembering(TextDiff):
    """TextDiff that keeps the frozen features of every square it has seen; noise is one fixed sample, as published."""

    def __init__(self, settings: TextDiffSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.variety = UNTOUCHED
        self.known: dict[int, list[Tensor]] = {}

    def features(self, images: Tensor, noise: Tensor) -> list[Tensor]:
        """As the parent's, from memory where it can be."""
        keys = [hash(image.numpy().tobytes()) for image in images.contiguous()]
        new = [index for index, key in enumerate(keys) if key not in self.known]
        if new:
            side = self.settings.crop // self.settings.shrink
            sample = torch.randn(3, side, side, generator=torch.Generator().manual_seed(40))
            fixed = sample[:, : images.shape[2], : images.shape[3]].expand_as(images[new])
            levels = super().features(images[new], fixed)
            for place, index in enumerate(new):
                self.known[keys[index]] = [level[place].to(torch.bfloat16) for level in levels]
        found = [self.known[key] for key in keys]
        return [torch.stack(level).float() for level in zip(*found, strict=True)]


class PlainUNet(Method[TextDiffSettings]):
    """The peer: MONAI's U-Net with the same loss, batch and resolution."""

    settings_type = TextDiffSettings
    learns_from = (MASKS,)

    def __init__(self, settings: TextDiffSettings, classes: int) -> None:
        super().__init__(settings, classes)
        self.variety = stained_tissue(settings.crop // 2)
        self.network = SharedUNet((32, 64, 128, 128, 128), classes + 1, channels=3)

    def stages(self) -> Sequence[Stage]:
        """One."""
        steps = PEER_STEPS * self.settings.steps
        return [Stage("network", self.network, steps, self.settings.rate, self.settings.batch)]

    def losses(self, stage: Stage, batch: Batch) -> dict[str, Tensor]:
        """Those of TextDiff."""
        logits = self._logits(batch.images).float()
        target, known = batch.targets.known_pixels()
        return {
            "cross-entropy": pixel_cross_entropy(logits, target, known, balanced=False),
            "dice": self.settings.dice * squared_dice(torch.softmax(logits, dim=1), target, known),
        }

    def _logits(self, images: Tensor) -> Tensor:
        small = functional.avg_pool2d(images, self.settings.shrink)
        return functional.interpolate(self.network(small), images.shape[2:], mode="bilinear", align_corners=False)

    def encode(self, images: Tensor, slices: Tensor) -> Sequence[Tensor]:
        """Its encoder's second level and last."""
        levels = self.network.encode(functional.avg_pool2d(images[slices], self.settings.shrink))
        return levels[1], levels[-1]

    def predict(self, images: Tensor, prompt: Prompt, pass_: Pass) -> Prediction:
        """The windows of TextDiff."""

        def look(windows: Tensor, pose: int) -> Tensor:
            return torch.softmax(self._logits(windows), dim=1)[:, 1:]

        probabilities = in_windows(look, images, self.settings.crop, POSES[:1], pass_.chunk, pass_.progress)
        return Prediction(probabilities, probabilities.flatten(2).amax(dim=2))


def plan(seeds: int) -> Iterator[Run]:
    """All runs, in the order of what is wanted first."""
    for seed in range(seeds):
        for text in ("true", "none", "shuffled"):
            yield Run("textdiff", text, 24, seed)
        yield Run("u-net", "none", 24, seed)
        for tiles in SIZES[:-1]:
            yield Run("textdiff", "none", tiles, seed)
            yield Run("u-net", "none", tiles, seed)
        yield Run("no pretraining", "none", 24, seed)


def pool_of(data: LabelledSlices, crop: int) -> LabelledSlices:
    """Squares of every tile, augmented once and for all."""
    variety, parts = stained_tissue(crop), []
    for index, case in enumerate(data.cases):
        batch = data.only([case]).batch(index, 0, range(POOL), variety)
        parts.append((batch.images, batch.targets))
    images, targets = zip(*parts, strict=True)
    return replace(
        data,
        images=torch.cat(images).half(),
        targets=Targets.together(targets),
        case=torch.arange(len(data.cases)).repeat_interleave(POOL),
    )


def sentences(texts: Sequence[str], kind: str, seed: int) -> tuple[str, ...]:
    """What a run is told of its tiles."""
    if kind == "none":
        return ("",) * len(texts)
    if kind == "true":
        return tuple(texts)
    rng = np.random.default_rng(seed)
    return tuple(str(rng.choice([other for other in texts if other != text])) for text in texts)


class Bench:
    """The data and the frozen features, which all runs share."""

    def __init__(self, package: ModelPackage, train_folder: Path, val_folder: Path, run: Path, steps: int) -> None:
        self.package, self.run, self.steps = package, run, steps
        view = View.of(package.recipe)
        self.settings = TextDiffSettings.model_validate(package.recipe.settings)
        self.settings = self.settings.model_copy(update={**SMALL, "steps": steps})
        self.frozen = _checksum(load_method(package).get_submodule("diffusion"))
        self.data = load_slices(train_folder, package.labels, view, (MASKS,))
        self.pool = pool_of(self.data, self.settings.crop // 2)
        self.val = load_cases(val_folder, package.labels)
        self.stacks = [prepare(case.scan, view) for case in self.val]
        self.features: dict[str, dict[int, list[Tensor]]] = {}

    def score(self, run: Run) -> Score:
        """From its file where it was done before."""
        return kept(self.run / f"{self.steps}-{self.frozen}-{run.name}.json", Score, self._score, run)

    def _score(self, run: Run) -> Score:
        found = np.array(self._dice(run))
        return Score(float(found.mean()), float((found / (2 - found)).mean()))

    def _dice(self, run: Run) -> list[float]:
        method = self._method(run)
        chosen = np.random.default_rng(run.seed).permutation(len(self.data.cases))[: run.tiles]
        source = self.data if run.method == "u-net" else self.pool
        data = source.only([self.data.cases[index] for index in chosen])
        first = torch.searchsorted(data.case, torch.arange(len(data.cases)))
        said = sentences(data.targets.at(first).texts, run.text, run.seed)
        data = replace(data, targets=replace(data.targets, texts=tuple(said[int(case)] for case in data.case)))
        folder = self.run / "training" / run.name
        make_folder(folder)
        train(method, data, TrainSettings(folder=folder, seed=run.seed, fresh=True))
        texts = sentences([case.text for case in self.val], run.text, run.seed)
        with torch.no_grad():
            rows = zip(self.val, self.stacks, texts, strict=True)
            return [_dice_of(method, case, stack, text) for case, stack, text in rows]

    def _method(self, run: Run) -> Method:
        torch.manual_seed(run.seed)
        if run.method == "u-net":
            return PlainUNet(self.settings, len(self.package.labels))
        method = Remembering(self.settings, len(self.package.labels))
        source = load_method(self.package) if run.method == "textdiff" else create_method(self.package, seed=99)
        method.diffusion.load_state_dict(source.get_submodule("diffusion").state_dict())
        method.known = self.features.setdefault(run.method, method.known)
        return method


def _checksum(module: nn.Module) -> str:
    """Tells diffusion models apart: scores are kept by it."""
    found = crc32(b"")
    for tensor in module.state_dict().values():
        found = crc32(tensor.contiguous().numpy().tobytes(), found)
    return f"{found:08x}"


def _dice_of(method: Method, case: Case, stack: Stack, text: str) -> float:
    maps = stack.to_native(method.predict(stack.images, Prompt(text=text), Pass(4)).probabilities)
    return dice_of(maps[0, 0] > 0.5, stack.grid.cut(case.reference)[0] == 1)


def main() -> None:
    """Run what is left to be done, print the table, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    for folder in ("--train", "--val", "--run"):
        parser.add_argument(folder, type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    bench = Bench(find_package(asked.model), asked.train, asked.val, asked.run, asked.steps)
    runs = list(plan(asked.seeds))
    with Bar() as bar:
        scores = {run: bench.score(run) for run in bar.track(runs, description="training")}
    rows: dict[tuple[str, str, int], list[Score]] = {}
    for run, score in scores.items():
        rows.setdefault((run.method, run.text, run.tiles), []).append(score)
    print(f"{asked.steps} steps, mean and deviation over seeds\n")
    print("| method | sentences | tiles | seeds | Dice | IoU |\n|---|---|---|---|---|---|")
    for (method, text, tiles), found in rows.items():
        told = [spread([score.dice for score in found]), spread([score.iou for score in found])]
        print(f"| {method} | {text} | {tiles} | {len(found)} | {told[0]} | {told[1]} |")
    if asked.plot:
        draw(rows, asked.plot)


def draw(rows: dict[tuple[str, str, int], list[Score]], file: Path) -> None:
    """Dice against tiles with masks."""
    figure, axes = plt.subplots(figsize=(5, 3.5))
    for method, name in (("textdiff", "TextDiff, no text"), ("u-net", "plain U-Net")):
        dice = [[score.dice for score in rows[method, "none", tiles]] for tiles in SIZES]
        means, spreads = [np.mean(found) for found in dice], [np.std(found) for found in dice]
        axes.errorbar(SIZES, means, spreads, marker="o", capsize=3, label=name)
    axes.set(xscale="log", xticks=SIZES, xticklabels=SIZES, xlabel="tiles with masks", ylabel="Dice, tiles never seen")
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=150)


if __name__ == "__main__":
    main()
