"""How many slices must be labelled, by the way in which scans and their slices are chosen.

Plays the annotator on scans whose labels are all known. Every round a strategy
chooses the next scans, and of each all its slices or four are labelled; then a
small classifier is trained from random weights on what is labelled so far, and
scored by the AUC of presence per slice on other patients. Labelled slices are
counted. The first scans are drawn at random, the same ones for every strategy
of a seed. When every scan was visited once, they are visited again.

    python benchmarks/active_learning.py --train DIR --val DIR --run DIR [--seeds 5] [--plot FILE]

Every training leaves a small file in the run folder, so an interrupted run goes
on where it was. Prints a table and draws the curves.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import kept
from diffusers.training_utils import EMAModel
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from wsseg.data.augment import Augmentation, Variety, augment
from wsseg.data.preprocess import View, prepare
from wsseg.data.targets import Targets
from wsseg.files import make_folder
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.inference.active import (
    SLICES,
    Doubt,
    ScanSummary,
    Score,
    by_both,
    by_doubt,
    by_novelty,
    choose,
    disagreement,
    scan_features,
    uncertainty,
    worth_labelling,
)
from wsseg.labels.space import LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, read_presence
from wsseg.losses.presence import presence_loss
from wsseg.methods.cam import CAM, CAMSettings
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.agreement import presence_auc

LABELS = LabelSpace(("tumor",))

MARGIN = 0.01
"""The goal is the AUC that all labels give, less this."""


@dataclass(frozen=True)
class Recipe:
    """The training of every round."""

    size: int = 32
    widths: tuple[int, int, int, int] = (8, 16, 32, 64)
    steps: int = 500
    batch: int = 32
    rate: float = 3e-3
    warm_up: int = 30
    average: float = 0.97


@dataclass(frozen=True)
class Strategy:
    """A row of the table.

    Attributes:
        name: of what chooses the scans.
        scans: None draws them at random.
        slices: how doubtful each is, to label the most doubtful; None draws them at random.
        whole: label all slices of a scan instead.
        mask: whether the doubt needs a mask.
        passes: how often every scan is visited.
    """

    name: str
    scans: Score | None
    slices: Doubt | None = None
    whole: bool = False
    mask: bool = False
    passes: int = 2

    @property
    def rule(self) -> str:
        """Which slices of a chosen scan are labelled."""
        if self.whole:
            return "all"
        return f"{SLICES} most doubtful" if self.slices else f"{SLICES} at random"


RANDOM_WHOLE = Strategy("random", None, whole=True, passes=1)
RANDOM_FEW = Strategy("random", None, passes=3)

STRATEGIES = [
    RANDOM_WHOLE,
    Strategy("informative", by_both(uncertainty), whole=True, passes=1),
    RANDOM_FEW,
    Strategy("random", None, uncertainty),
    Strategy("uncertainty", by_doubt(uncertainty), uncertainty),
    Strategy("disagreement", by_doubt(disagreement), disagreement, mask=True),
    Strategy("diversity", by_novelty, uncertainty),
    Strategy("informative", by_both(uncertainty), uncertainty),
]

AT = 256
"""Labels at which the table compares."""

VISITS = (1 / 4, 1 / 2, 3 / 4, 1, 5 / 4, 3 / 2, 2, 5 / 2, 3)
"""Scans visited by the end of each round, in parts of all scans."""


@dataclass(frozen=True)
class Case:
    """A scan as the classifier sees it, and what the annotator knows of it.

    Attributes:
        images: (slices, 1, size, size) in [-1, 1].
        truth: (slices, 1) of 1 and 0.
        features: as :meth:`Segmenter.summarize` has them.
    """

    images: Tensor
    truth: Tensor
    features: NDArray[np.float32]


Cases = Mapping[str, Case]
Labelled = dict[str, list[int]]
"""Slices that have been labelled, by scan."""


@dataclass(frozen=True)
class Round:
    """What one training gave: labels it had, AUC on the other patients, and what it says of the scans."""

    labels: int
    auc: float
    presence: dict[str, list[float]]
    areas: dict[str, list[float]] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--plot", type=Path, default=Path("docs/pictures/active_learning.png"))
    arguments = parser.parse_args()
    recipe = Recipe(steps=arguments.steps)
    make_folder(arguments.run)
    train, val = (read_cases(folder, recipe.size) for folder in (arguments.train, arguments.val))
    simulation = Simulation(train, val, recipe, arguments.run)
    curves: dict[Strategy, list[list[Round]]] = {strategy: [] for strategy in STRATEGIES}
    everything = []
    with Progress() as progress:
        bar = progress.add_task("simulating", total=arguments.seeds * (len(STRATEGIES) + 1))
        for seed in range(arguments.seeds):
            everything.append(simulation.learn({name: list(range(len(c.truth))) for name, c in train.items()}, seed))
            progress.advance(bar)
            for strategy in STRATEGIES:
                curves[strategy].append(list(simulation.rounds(strategy, seed)))
                progress.advance(bar)
    report(curves, everything)
    draw(curves, everything, arguments.plot)


def read_cases(folder: Path, size: int) -> dict[str, Case]:
    """All scans of a folder with their labels."""
    presence = read_presence(folder / PRESENCE_FILE, LABELS)
    found = {}
    for name, file in scan_files(folder).items():
        stack = prepare(read_scan(file), View(size))
        found[name] = Case(stack.images, stack.order_presence(presence[name].states), scan_features(stack.images))
    return found


@dataclass(frozen=True)
class Simulation:
    """The annotator at work.

    Attributes:
        train: scans that may be labelled.
        val: scans that are scored.
        recipe: of training.
        folder: of the files of finished trainings.
    """

    train: Cases
    val: Cases
    recipe: Recipe
    folder: Path

    def rounds(self, strategy: Strategy, seed: int) -> Iterator[Round]:
        """Label and train in turns."""
        rng = np.random.default_rng(seed)
        labelled: Labelled = {}
        waiting: list[str] = []
        found = None
        for before, after in pairwise((0, *VISITS)):
            if after > strategy.passes:
                return
            waiting = waiting or sorted(self.train)
            count = round(after * len(self.train)) - round(before * len(self.train))
            for name in self._scans(strategy, waiting, count, found, rng):
                waiting.remove(name)
                labelled[name] = sorted({*labelled.get(name, []), *self._slices(strategy, name, labelled, found, rng)})
            found = self.learn(labelled, seed, strategy.mask)
            yield found

    def _scans(
        self, strategy: Strategy, waiting: list[str], count: int, found: Round | None, rng: np.random.Generator
    ) -> list[str]:
        if strategy.scans is None or found is None:
            return rng.permutation(waiting)[:count].tolist()
        summaries = {name: self._summarize(name, found) for name in self.train}
        candidates = {name: summaries[name] for name in waiting}
        return choose(candidates, [summaries[name] for name in summaries if name not in waiting], strategy.scans, count)

    def _slices(
        self, strategy: Strategy, name: str, labelled: Labelled, found: Round | None, rng: np.random.Generator
    ) -> list[int]:
        left = sorted(set(range(len(self.train[name].truth))) - set(labelled.get(name, [])))
        if strategy.whole:
            return left
        if strategy.slices is None or found is None:
            return rng.permutation(left)[:SLICES].tolist()
        doubt = strategy.slices(self._summarize(name, found))[left]
        return [left[index] for index in worth_labelling(doubt)]

    def _summarize(self, name: str, found: Round) -> ScanSummary:
        areas = np.array([found.areas[name]]) if found.areas else None
        return ScanSummary(np.array([found.presence[name]]), self.train[name].features, areas)

    def learn(self, labelled: Labelled, seed: int, mask: bool = False) -> Round:
        """Train on some slices, or read what an earlier run got from the same training."""
        told = json.dumps([asdict(self.recipe), seed, mask, sorted(labelled.items())])
        file = self.folder / f"{hashlib.sha256(told.encode()).hexdigest()[:20]}.json"
        return kept(file, Round, self._learn, labelled, seed, mask)

    def _learn(self, labelled: Labelled, seed: int, mask: bool) -> Round:
        images = torch.cat([self.train[name].images[slices] for name, slices in labelled.items()])
        truth = torch.cat([self.train[name].truth[slices] for name, slices in labelled.items()])
        method = train_classifier(images, truth, self.recipe, seed)
        said = torch.cat([presence_of(method, case.images) for case in self.val.values()])
        right = torch.cat([case.truth for case in self.val.values()])
        return Round(
            labels=len(truth),
            auc=presence_auc(right, said),
            presence={name: _list(presence_of(method, case.images)[:, 0]) for name, case in self.train.items()},
            areas={name: _list(areas_of(method, case.images)) for name, case in self.train.items()} if mask else None,
        )


def train_classifier(images: Tensor, truth: Tensor, recipe: Recipe, seed: int) -> CAM:
    """From random weights; half of every batch shows the finding, the rate falls as a cosine, weights are averaged."""
    torch.manual_seed(seed)
    method = CAM(CAMSettings(widths=recipe.widths, layer="layer2", hyperintense=True), 1)
    method.train().to(memory_format=torch.channels_last)
    weights = list(method.parameters())
    optimizer = torch.optim.AdamW(weights, recipe.rate, weight_decay=1e-4)
    average = EMAModel(weights, decay=recipe.average)
    states = [torch.nonzero(truth[:, 0] == state)[:, 0].numpy() for state in (1, 0)]
    half = recipe.batch // 2
    for step in range(recipe.steps):
        rng = np.random.default_rng([seed, step])
        sampled = np.concatenate([rng.choice(state, half) for state in states if len(state)])
        varied = [Augmentation.draw(rng, Variety()) for _ in sampled]
        batch, _ = augment(images[sampled], Targets.unknown(len(sampled), 1, images.shape[2:]), varied)
        rate = recipe.rate * min(1, (step + 1) / recipe.warm_up) * (1 + np.cos(np.pi * step / recipe.steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = presence_loss(method.classifier(batch.contiguous(memory_format=torch.channels_last)), truth[sampled])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(weights)
    average.copy_to(weights)
    return method.requires_grad_(False).eval()


def presence_of(method: CAM, images: Tensor) -> Tensor:
    """Presence probability (slices, 1)."""
    return method.presence_probability(images, 64)


def areas_of(method: CAM, images: Tensor) -> Tensor:
    """The part of each slice (slices,) that the mask marks."""
    maps = method.predict(images, Prompt(), Pass(64)).probabilities
    return (maps[:, 0] > 0.5).float().mean(dim=(1, 2))


def _list(values: Tensor) -> list[float]:
    return [round(float(value), 5) for value in values]


Curves = Mapping[Strategy, list[list[Round]]]
"""Rounds by strategy and seed."""


def means(seeds: list[list[Round]]) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Labels, mean AUC and its standard deviation over the seeds, by round."""
    auc = np.array([[each.auc for each in rounds] for rounds in seeds])
    labels = np.array([[each.labels for each in rounds] for rounds in seeds])
    return labels.mean(axis=0), auc.mean(axis=0), auc.std(axis=0)


def labels_needed(labels: NDArray[np.floating], auc: NDArray[np.floating], goal: float) -> float:
    """Where a curve first reaches the goal, linear between rounds; infinite where it does not."""
    reached = np.flatnonzero(auc >= goal)
    if not len(reached):
        return np.inf
    first = int(reached[0])
    if first == 0:
        return float(labels[0])
    between = slice(first - 1, first + 1)
    return float(np.interp(goal, auc[between], labels[between]))


def report(curves: Curves, everything: list[Round]) -> None:
    """Print the table."""
    auc = [each.auc for each in everything]
    goal = float(np.mean(auc)) - MARGIN
    print(f"all {everything[0].labels} labels: AUC {np.mean(auc):.3f} ± {np.std(auc):.3f}, goal {goal:.3f}\n")
    print(f"| scans chosen by | slices labelled of each | AUC at {AT} labels | labels to the goal | of random's |")
    print("|---|---|---|---|---|")
    for strategy, seeds in curves.items():
        labels, mean, spread = means(seeds)
        needed = labels_needed(labels, mean, goal)
        peer = RANDOM_WHOLE if strategy.whole else RANDOM_FEW
        share = needed / labels_needed(*means(curves[peer])[:2], goal)
        at = f"{np.interp(AT, labels, mean):.3f} ± {np.interp(AT, labels, spread):.3f}"
        count = f"{needed:.0f}" if np.isfinite(needed) else f"more than {labels[-1]:.0f}"
        print(f"| {strategy.name} | {strategy.rule} | {at} | {count} | {share:.2f} |")


def draw(curves: Curves, everything: list[Round], path: Path) -> None:
    """AUC by labelled slices; the bands are standard deviations over the seeds."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    colors = plt.get_cmap("tab10")
    for index, (strategy, seeds) in enumerate(curves.items()):
        labels, mean, spread = means(seeds)
        style = "--" if strategy.whole else "-"
        name = f"{strategy.name}, {strategy.rule}"
        axes.plot(labels, mean, style, color=colors(index), marker="o", markersize=3, linewidth=1.4, label=name)
        axes.fill_between(labels, mean - spread, mean + spread, color=colors(index), alpha=0.08, linewidth=0)
    goal = float(np.mean([each.auc for each in everything])) - MARGIN
    axes.axhline(goal, color="black", linewidth=0.8, linestyle=":", label=f"goal: all labels less {MARGIN}")
    axes.set(xscale="log", xlabel="labelled slices", ylabel="AUC of presence per slice, other patients")
    ticks = [64, 128, 256, 512, 1024, everything[0].labels]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(title="scans chosen by, slices labelled", fontsize=8, title_fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
