"""How many slices must be labelled, by the way in which scans and their slices are chosen.

Plays the annotator on scans whose labels are all known. Every round a strategy
chooses the next scans, and of each all its slices or four are labelled; then a
small classifier is trained from random weights on what is labelled so far, and
scored by the AUC of presence per slice on other patients. Labelled slices are
counted. The first scans are drawn at random, the same ones for every strategy
of a seed. When every scan was visited once, they are visited again.

    python benchmarks/methods/active_learning.py --train DIR --val DIR --run DIR [--seeds 5] [--plot FILE]

Every training leaves a small file in the run folder, so an interrupted run goes
on where it was. Prints a table and draws the curves.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from classifier import Recipe
from numpy.typing import NDArray
from rich.progress import Progress
from simulation import Round, Simulation, Strategy, read_cases

from wsseg.files import make_folder
from wsseg.inference.active import by_both, by_doubt, by_novelty, disagreement, uncertainty

MARGIN = 0.01
"""The goal is the AUC that all labels give, less this."""


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
