"""Whether a scan is of the kind that a model was trained on.

Each aspect of a :data:`~wsseg.inference.quality.look.Look` is a normal distribution of the
training scans (probabilistic PCA, Tipping and Bishop 1999), and what counts is the
aspect in which a scan lies farthest out (Mahalanobis distance, as in Lee et al.
2018, arXiv 1807.03888). How far is too far is asked of training scans that were
left out: the p-value is conformal, a rank among them (Vovk et al. 2005), so that it
means something with 20 scans. Beyond the farthest of them ranks say no more, and the
p-value falls on as the tail of Student's t that they follow.

Of a dozen scans one that is odd in its grey values is enough to hide all that are odd in
any other way. So where scans are few each aspect is asked by itself too, with Bonferroni's
correction for as many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.quality.look import TURNS, Aspect, Look
from wsseg.models.domain import Cloud, Domain, Extents, Floats, Range

ASPECTS = tuple(aspect.name.lower() for aspect in Aspect)
"""Their names in a package."""

LEAST_PATIENTS = 8
"""With training scans of fewer nothing is said: they are no distribution yet."""

LEVEL = 0.05
"""p-value below which a scan is said not to fit: one in twenty that do is doubted in vain."""

FOLDS = 20
"""Groups of patients that are left out in turn; with fewer patients each is one."""

MOST_DIRECTIONS = 12

FEW = 100
"""Of fewer scans a handful of odd ones decide what is too far."""

_LEAST_SPREAD = 0.1
"""Of distances: training scans that are all alike do not make the next one foreign."""

_LEAST_ALONE = 0.4
"""The same of one aspect by itself: a dozen scans tell its spread badly."""

_TAIL = 4
"""Degrees of freedom of Student's t for one aspect by itself: heavier than normal, as is what few scans tell."""

_LEAST_SCALE: Mapping[Aspect, float] = {
    Aspect.FINE: 1e-3,
    Aspect.DEEP: 1e-3,
    Aspect.GREY: 0.04,
    Aspect.DETAIL: 0.1,
    Aspect.SYMMETRY: 0.04,
    Aspect.LAYOUT: 0.06,
    Aspect.TURN: 0.1,
    Aspect.SIZE: 0.2,
}
"""Least standard deviation of each number, in its unit: a release with one spacing for all tells nothing of others."""


@dataclass(frozen=True)
class Fits:
    """Whether a scan is like those that a model was trained on.

    Attributes:
        p: of a scan of their kind, the probability to lie as far from them as this one, in [0, 1].
        sentence: what the scan looks like, and what the model has seen.
    """

    p: float
    sentence: str

    @property
    def doubtful(self) -> bool:
        """Whether a mask of the scan is not to be trusted."""
        return self.p < LEVEL

    def __str__(self) -> str:
        return f"p = {self.p:.2g}: {self.sentence}"

    def facts(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"p": float(f"{self.p:.3g}"), "doubtful": self.doubtful, "sentence": self.sentence}


def learn_domain(looks: Sequence[Look], patients: Sequence[str], seen: Extents) -> Domain:
    """The domain of a model.

    Args:
        looks: of its training scans.
        patients: whose they are, :data:`LEAST_PATIENTS` or more; all scans of one are left out together.
        seen: the training scans in words' terms.
    """
    names = sorted(set(patients))
    fold = np.array([names.index(patient) % min(FOLDS, len(names)) for patient in patients])
    distances = np.empty((len(looks), len(Aspect)))
    for left in np.unique(fold):
        clouds, lopsided = _clouds([look for look, own in zip(looks, fold, strict=True) if own != left])
        for index in np.flatnonzero(fold == left):
            distances[index] = list(_distances(clouds, lopsided, looks[index]).values())
    # What is usual is told from the others too, or an odd scan would make itself less so. That clouds of the others
    # hold it is borne: leaving it out of those as well would take as many clouds squared.
    scores = [_together(_apart(_usual(distances[fold != own]), row)) for own, row in zip(fold, distances, strict=True)]
    clouds, lopsided = _clouds(looks)
    usual = _usual(distances)
    known = {aspect.name.lower(): replace(clouds[aspect], usual=own) for aspect, own in zip(Aspect, usual, strict=True)}
    return Domain(seen, known, lopsided, np.sort(scores))


def _usual(distances: Floats) -> Floats:
    """Of distances (scans, aspects) the median and how far the farthest tenth begins from it, (aspects, 2).

    An odd scan among a dozen or more does not widen what is usual.
    """
    median, far = np.quantile(distances, [0.5, 0.9], axis=0)
    return np.stack([median, np.maximum(_LEAST_SPREAD, far - median)], axis=1)


def _clouds(looks: Sequence[Look]) -> tuple[dict[Aspect, Cloud], Floats]:
    """The distribution of each aspect, and the mean of what is lopsided in a layout."""
    lopsided = np.mean([look[Aspect.TURN] for look in looks], axis=0)
    return {
        aspect: _cloud(np.stack([_numbers(aspect, look, lopsided) for look in looks]), aspect) for aspect in Aspect
    }, lopsided


def _numbers(aspect: Aspect, look: Look, lopsided: Floats) -> Floats:
    """An aspect's numbers (n,); of how a scan lies, its cosines with how the training scans lie, one for each turn."""
    if aspect is not Aspect.TURN:
        return look[aspect]
    own, usual = (part.reshape(TURNS, -1) for part in (look[aspect], lopsided))
    lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(usual, axis=1)
    return np.asarray((own * usual).sum(axis=1) / np.maximum(lengths, 1e-9))


def _cloud(values: Floats, aspect: Aspect) -> Cloud:
    """The distribution of one aspect's numbers (scans, n)."""
    mean, scale = values.mean(axis=0), np.maximum(values.std(axis=0), _LEAST_SCALE[aspect])
    scans, count = values.shape
    _, lengths, directions = np.linalg.svd((values - mean) / scale, full_matrices=False)
    spreads = lengths / np.sqrt(scans - 1)
    kept = min(MOST_DIRECTIONS, scans // 4, count - 1)
    rest = np.sqrt(max(float(np.square(spreads[kept:]).sum()) / (count - kept), 0.01))
    return Cloud(mean, scale, directions[:kept], np.maximum(spreads[:kept], rest), np.array(rest), np.array([0.0, 1.0]))


def _distances(clouds: Mapping[Aspect, Cloud], lopsided: Floats, look: Look) -> dict[Aspect, float]:
    return {aspect: _distance(cloud, _numbers(aspect, look, lopsided)) for aspect, cloud in clouds.items()}


def _distance(cloud: Cloud, values: Floats) -> float:
    """How many standard deviations numbers (n,) lie out: the mean square over all directions, its cube root.

    Cube roots of chi-squared variables are nearly normal (Wilson and Hilferty 1931).
    """
    centred = (values - cloud.mean) / cloud.scale
    along = cloud.directions @ centred
    rest = max(0.0, float(centred @ centred - along @ along))
    square = float(np.square(along / cloud.spreads).sum()) + rest / float(cloud.rest) ** 2
    return float(np.cbrt(square / len(values)))


def judge(domain: Domain, look: Look, scan: Volume, grid: SliceGrid, modality: str) -> Fits:
    """Whether a scan fits.

    Args:
        domain: of the model.
        look: of the scan.
        scan: as read.
        grid: how it is cut.
        modality: what the model reads, in words.
    """
    clouds = {aspect: domain.clouds[aspect.name.lower()] for aspect in Aspect}
    measured = np.array(list(_distances(clouds, domain.lopsided, look).values()))
    distances = np.nan_to_num(measured, nan=np.inf)  # what cannot be measured is like nothing that was seen
    usual = np.stack([cloud.usual for cloud in clouds.values()])
    apart = _apart(usual, distances)
    p = p_value(domain.left_out, _together(apart))
    if len(domain.left_out) < FEW:
        p = min(p, p_of_one_aspect(usual, distances))
    own = f"{_in_words(seen_in([Measures.of(scan, grid)]))}, {_values(scan)}"
    known = f"the model has seen {domain.seen.scans} scans of {modality}: {_in_words(domain.seen)}"
    return Fits(p, f"{_how(p, apart)}: {own}; {known}")


def _apart(usual: Floats, distances: Floats, least: float = 0.0) -> Floats:
    """Distances (aspects,) beyond the median, in parts of what is usual, which is no less than that."""
    return np.asarray((distances - usual[:, 0]) / usual[:, 1].clip(min=least))


def _together(apart: Floats) -> float:
    """One score: what lies far out in one aspect counts as much as what is odd in many."""
    return float(np.sqrt(np.square(apart.clip(min=0)).sum()))


def p_value(left_out: NDArray[np.float64], score: float) -> float:
    """Of a scan of the training scans' kind, the probability to score as high.

    Args:
        left_out: scores of training scans when they were left out.
        score: of the scan.
    """
    scans = len(left_out)
    higher = int((left_out >= score).sum())
    if higher:
        return (1 + higher) / (scans + 1)
    spread = left_out.std(ddof=1) * np.sqrt(1 + 1 / scans)
    beyond, farthest = stdtr(scans - 1, (left_out.mean() - np.array([score, left_out.max()])) / spread)
    return float(beyond / farthest) / (scans + 1)


def p_of_one_aspect(usual: Floats, distances: Floats) -> float:
    """Of a scan of the training scans' kind, the probability taken to be of lying as far out in any one aspect.

    It may take half as many again as :data:`LEVEL` for foreign, as the other test has all of that level.

    Args:
        usual: of each aspect the median distance and how far the farthest tenth begins from it, (aspects, 2).
        distances: of the scan, (aspects,).
    """
    farthest = float(_apart(usual, distances, _LEAST_ALONE).max())
    one_in_ten = stdtrit(_TAIL, 0.9)
    return min(1.0, 2 * len(usual) * float(stdtr(_TAIL, -farthest * one_in_ten)))


def seen_in(scans: Sequence[Measures]) -> Extents:
    """Training scans in words' terms."""
    ends = [(float(column.min()), float(column.max())) for column in np.array([astuple(scan) for scan in scans]).T]
    return Extents(scans=len(scans), slices=ends[0], pixel_mm=ends[1], step_mm=ends[2], side_mm=ends[3])


@dataclass(frozen=True)
class Measures:
    """A scan in words' terms; the fields are those of :class:`~wsseg.models.domain.Extents`."""

    slices: float
    pixel_mm: float
    step_mm: float
    side_mm: float

    @classmethod
    def of(cls, scan: Volume, grid: SliceGrid) -> Measures:
        """Those of a scan that is cut along a grid; sides of pictures in pixels."""
        pixels = [scan.shape[axis] for axis in grid.plane_axes]
        if scan.picture:
            return cls(1, 0, 0, max(pixels))
        steps = [scan.spacing[axis] for axis in grid.plane_axes]
        side = max(count * step for count, step in zip(pixels, steps, strict=True))
        return cls(scan.shape[grid.stored_axis], min(steps), scan.spacing[grid.stored_axis], side)


def _how(p: float, apart: Floats) -> str:
    """As in "unlike its training scans in layout, grey values, size", the worst first."""
    if p >= LEVEL:
        return "like its training scans"
    unlike = [list(Aspect)[index] for index in np.argsort(-apart)[:3] if apart[index] > 1]
    return f"unlike its training scans in {', '.join(unlike)}"


def _in_words(seen: Extents) -> str:
    if not seen.step_mm[1]:
        return f"pictures of {_range(seen.side_mm, 0)} pixels a side"
    sizes = f"{_range(seen.side_mm, 0)} mm wide at {_range(seen.pixel_mm, 1)} mm, {_range(seen.step_mm, 1)} mm apart"
    return f"{_range(seen.slices, 0)} slices {sizes}"


def _range(ends: Range, digits: int) -> str:
    least, most = (f"{end:.{digits}f}" for end in ends)
    return least if least == most else f"{least} to {most}"


def _values(scan: Volume) -> str:
    low, high = float(scan.voxels.min()), float(scan.voxels.max())
    if low >= 0 and high <= 255 and np.array_equal(scan.voxels, np.round(scan.voxels)):
        return "8 bits"
    return f"values {low:.4g} to {high:.4g}"
