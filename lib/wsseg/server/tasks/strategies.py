"""Active learning as MONAI Label's clients know it: ways to choose the scan to label next."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from wsseg.archive.overview import Overview
from wsseg.errors import NotFoundError
from wsseg.inference.active import (
    Doubt,
    ScanSummary,
    Score,
    by_both,
    by_doubt,
    by_novelty,
    by_poor_mask,
    choose,
    disagreement,
    uncertainty,
    worth_labelling,
)
from wsseg.models.package import ModelPackage
from wsseg.server.compute import Compute
from wsseg.server.studies.labels import Labels
from wsseg.server.tasks.pool import PoolInference

POOL = 32
"""Unlabelled scans, and as many labelled ones, that a model looks at; of an archive they are downloaded."""

DOUBTS = 1000
"""Cases of an archive, the least sure ones, that are proposed one after the other."""

SECONDS = 2.0
"""A click on "next case" waits for looks at most so long, then it is chosen among the scans seen so far."""

Packages = Callable[[], list[ModelPackage]]

Chosen = dict[str, Any]
"""``id`` of a scan, ``why`` in a sentence, ``slices`` (from 0) worth labelling where a model was asked."""


@dataclass(frozen=True)
class Way:
    """A way to choose by what a model says.

    Attributes:
        description: for people.
        why: completes "the scan ...".
        score: of scans.
        doubt: of their slices.
        mask: whether the doubt needs a mask, which takes longer.
    """

    description: str
    why: str
    score: Score
    doubt: Doubt = uncertainty
    mask: bool = False


WAYS = {
    "informative": Way(
        "The model is unsure whether its slices show a finding, and it is unlike the labelled scans (recommended)",
        "with doubtful slices that is unlike the labelled ones",
        by_both(uncertainty),
    ),
    "uncertainty": Way(
        "The model is unsure whether its slices show a finding",
        "with the most doubtful slices",
        by_doubt(uncertainty),
    ),
    "disagreement": Way(
        "The model's mask and its classification of slices contradict each other, and little Dice is predicted",
        "whose mask contradicts the classification of its slices most, for the little Dice that is predicted",
        by_poor_mask(disagreement),
        disagreement,
        mask=True,
    ),
    "diversity": Way(
        "It looks unlike the labelled scans",
        "most unlike the labelled ones",
        by_novelty,
    ),
}


class Peer(Strategy):
    """Chooses without a model.

    Args:
        description: for people.
        labels: scans that have some are never chosen.
        packages: models as they are now.
        pick: one of some names.
    """

    def __init__(
        self, description: str, labels: Labels, packages: Packages, pick: Callable[[Sequence[str]], str]
    ) -> None:
        super().__init__(description)
        self._labels = labels
        self._packages = packages
        self._pick = pick

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> Chosen | None:
        """The next scan, None where all are labelled."""
        scans = unlabelled(self._labels, datastore, _named(self._packages(), request.get("model")))
        if not scans:
            return None
        return {"id": self._pick(scans), "why": f"{self.description[0].lower()}{self.description[1:]}"}


class ByModel(Strategy):
    """Chooses by what a model says; the same choice as long as labels, version and summaries are the same.

    Args:
        way: how.
        labels: scans that have some are never chosen.
        inference: that asks the model.
        packages: models as they are now.
    """

    def __init__(self, way: Way, labels: Labels, inference: PoolInference, packages: Packages) -> None:
        super().__init__(way.description)
        self._way = way
        self._labels = labels
        self._inference = inference
        self._packages = packages

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> Chosen | None:
        """The next scan for ``request["model"]``, by default the first model; None where all usable ones are labelled.

        Raises:
            NotFoundError: no such model.
        """
        package = _named(self._packages(), request.get("model"))
        waiting = unlabelled(self._labels, datastore, package)
        known = _drawn(sorted(set(datastore.list_images()) - set(waiting)))
        waiting = sorted(set(waiting) - self._inference.unusable(package, self._way.mask))
        if not waiting:
            return None
        pool = _drawn(waiting)
        if not package.trained:
            return {"id": pool[0], "why": f"drawn at random, since {package.name} is not trained yet"}
        summaries = self._inference.summaries(package, [*pool, *known], self._way.mask, SECONDS)
        seen = {scan: summaries[scan] for scan in pool if scan in summaries}
        if not seen:
            return {"id": pool[0], "why": f"drawn at random, since {package.name} has not looked at any scan yet"}
        fitting = {scan: each for scan, each in seen.items() if not (each.fits and each.fits.doubtful)}
        labelled = [summaries[name] for name in known if name in summaries]
        scan = choose(fitting or seen, labelled, self._way.score)[0]
        foreign = len(seen) - len(fitting)
        return {"id": scan, **self._reply(seen[scan], len(seen), len(waiting), foreign)}

    def _reply(self, summary: ScanSummary, seen: int, waiting: int, foreign: int) -> dict[str, Any]:
        slices = worth_labelling(self._way.doubt(summary)).tolist()
        scans = "the only unlabelled scan" if waiting == 1 else f"of {waiting} unlabelled scans"
        looked = "" if seen == waiting else f", {seen} of which were looked at"
        looked += f"; {foreign} do not fit the model and come last" if foreign else ""
        numbers = ", ".join(str(index + 1) for index in slices)
        return {"why": f"the one {self._way.why}, {scans}{looked}; worth labelling: slices {numbers}", "slices": slices}


class OfArchive(Strategy):
    """Chooses by what the model said of its own masks when the whole archive was segmented.

    Args:
        labels: scans that have some are never chosen.
        packages: models as they are now.
        archives: what campaigns have come to.
    """

    def __init__(self, labels: Labels, packages: Packages, archives: Overview) -> None:
        super().__init__("The model was least sure of it when it segmented the whole archive")
        self._labels = labels
        self._packages = packages
        self._archives = archives

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> Chosen | None:
        """The next scan for ``request["model"]``, None where all that it was unsure of are labelled.

        Raises:
            NotFoundError: no such model, or it has not segmented the archive.
        """
        package = _named(self._packages(), request.get("model"))
        cases = self._archives.least_sure(self._labels.store.project.id, package.name, DOUBTS)
        waiting = set(unlabelled(self._labels, datastore, package))
        case = next((case for case in cases if case.uid in waiting), None)
        if case is None:
            return None
        return {"id": case.uid, "why": f"the one that the model was least sure of, {case.quality:.0%}, in the archive"}


def _named(packages: Sequence[ModelPackage], model: str | None) -> ModelPackage:
    """The model of that name, the first one where none is named."""
    for package in packages:
        if model in (None, package.name):
            return package
    raise NotFoundError(f'model "{model}" is unknown' if model else "there is no model to choose a scan for")


def strategies(
    compute: Compute, labels: Labels, packages: Packages, archives: Overview | None = None
) -> dict[str, Strategy]:
    """All there are, the recommended one first; of an archive with what campaigns over it have come to."""
    inference = PoolInference(compute, labels.studies)
    by_model: dict[str, Strategy] = {name: ByModel(way, labels, inference, packages) for name, way in WAYS.items()}
    return {
        **by_model,
        **({"archive": OfArchive(labels, packages, archives)} if archives else {}),
        "random": Peer("Drawn at random", labels, packages, random.choice),
        "first": Peer("The first by name", labels, packages, min),
    }


def unlabelled(labels: Labels, datastore: Datastore, package: ModelPackage) -> list[str]:
    """Scans without presence or scribbles of a model's classes, without a drawing and a finished mask, sorted."""
    known = {scan: each.summary for scan, each in labels.labelled(package.labels).items() if each.summary}
    labelled = {scan for scan, summary in known.items() if summary.labelled or summary.scribbles or summary.drawings}
    return sorted(set(datastore.get_unlabeled_images()) - labelled)


def _drawn(scans: Sequence[str]) -> list[str]:
    """Some of the scans in an order that has nothing to do with their names, which tell of date or hospital."""
    return sorted(scans, key=lambda scan: crc32(scan.encode()))[:POOL]
