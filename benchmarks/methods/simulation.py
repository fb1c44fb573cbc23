"""An annotator played on scans whose labels are all known: what is labelled next, and what is learned from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from classifier import Recipe, areas_of, presence_of, train_classifier
from common import kept
from numpy.typing import NDArray
from torch import Tensor

from wsseg.data.preprocess import View, prepare
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.inference.active import SLICES, Doubt, ScanSummary, Score, choose, scan_features, worth_labelling
from wsseg.labels.space import LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, read_presence
from wsseg.methods.shared.agreement import presence_auc

LABELS = LabelSpace(("tumor",))


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


VISITS = (1 / 4, 1 / 2, 3 / 4, 1, 5 / 4, 3 / 2, 2, 5 / 2, 3)
"""Scans visited by the end of each round, in parts of all scans."""


@dataclass(frozen=True)
class Case:
    """A scan as the classifier sees it, and what the annotator knows of it.

    Attributes:
        images: (slices, 1, size, size) in [-1, 1].
        truth: (slices, 1) of 1 and 0.
        features: as :meth:`wsseg.inference.segmenter.Segmenter.summarize` has them.
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


def read_cases(folder: Path, size: int) -> dict[str, Case]:
    """All scans of a folder with their labels."""
    presence = read_presence(folder / PRESENCE_FILE, LABELS)
    found = {}
    for name, file in scan_files(folder).items():
        stack = prepare(read_scan(file), View(size))
        found[name] = Case(stack.images, stack.ordered(presence[name].states), scan_features(stack.images))
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


def _list(values: Tensor) -> list[float]:
    return [round(float(value), 5) for value in values]
