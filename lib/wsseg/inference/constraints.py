"""What people drew on a scan, respected by a mask: exactly where it was drawn, and by what is like it around it.

On the scan's own grid, behind any method: a network's grid is coarser than a
pen. Strokes and points speak for their surroundings by geodesic distance, in
the manner of Wang et al. 2018 (DeepIGeoS, arXiv 1707.00652): along paths that
cross no edge of the image. Brushes say exactly where, boxes where nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.special import expit, logit

from wsseg.data.preprocess import Stack
from wsseg.labels.drawn.render import Rendered
from wsseg.labels.space import BACKGROUND

REACH_MM = 8.0
"""Geodesic distance at which a stroke has lost 1 - 1/e of what it says."""

EDGE_MM = 60.0
"""Millimetres that a step counts more for each unit of intensity, of the network's range [-1, 1], that it crosses."""

SAYS = 6.0
"""Logits that a stroke adds to its class right beside it, more than a network is usually sure of."""

BETWEEN_MM = 8.0
"""Distance of slices at which a stroke has lost 1 - 1/e of what it says of others."""

FILLED = 0.15
"""Part of a box that a mask fills at least; else what is most probable in it is raised."""

ROUND = 0.45
"""Part of a box that is then marked; a disc that touches its sides fills 0.79."""


@dataclass(frozen=True)
class Constraints:
    """Drawings on the slices of a scan as cut.

    Attributes:
        certain: (slices, rows, columns) uint8 of what every pixel was drawn as:
            0 nothing, 1..N a class, 255 background.
        speaking: the same of strokes and points alone, which speak for their surroundings.
        boxed: for a class's index, the slices with boxes of it, each with where they are, (rows, columns) bool.
    """

    certain: NDArray[np.uint8]
    speaking: NDArray[np.uint8]
    boxed: dict[int, dict[int, NDArray[np.bool_]]]

    @classmethod
    def of(cls, drawn: Rendered, stack: Stack) -> Constraints:
        """Drawings on a scan's own grid, for the scan as it was cut."""
        cut = stack.grid.cut
        certain = drawn.pixels
        speaking = np.where(drawn.corrections > 0, 0, certain)
        for point in drawn.nowhere:
            np.moveaxis(speaking, point.axis, 2)[point.row, point.column, point.slice] = BACKGROUND
        boxed: dict[int, dict[int, NDArray[np.bool_]]] = {}
        for value in {box.value for box in drawn.boxes}:
            inside = np.zeros(certain.shape, np.bool_)
            for box in drawn.boxes:
                if box.value == value:
                    rows, columns = slice(box.first_row, box.last_row + 1), slice(box.first_column, box.last_column + 1)
                    np.moveaxis(inside, box.axis, 2)[rows, columns, box.slice] = True
            slices = cut(inside)
            boxed[value - 1] = {int(index): slices[index] for index in np.flatnonzero(slices.any(axis=(1, 2)))}
        return cls(np.ascontiguousarray(cut(certain)), np.ascontiguousarray(cut(speaking)), boxed)

    def weigh(self, maps: NDArray[np.float32], stack: Stack, between_mm: float) -> NDArray[np.float32]:
        """Probabilities (slices, classes, rows, columns) with what strokes, points and boxes say of them.

        Args:
            between_mm: from slice to slice.
        """
        found = maps.copy()
        for index, window, said in self._influence(stack, maps.shape[1]):
            for other in range(len(found)):
                weight = float(np.exp(-(((other - index) * between_mm / BETWEEN_MM) ** 2)))
                if weight > 0.05 and (other == index or not self.certain[other].any()):
                    part = found[other][(slice(None), *window)]
                    part[:] = _moved(part, SAYS * weight * said)
        for k, slices in self.boxed.items():
            for index, inside in slices.items():
                found[index, k] = _in_box(found[index, k], inside)
        return found

    def keep(self, marked: NDArray[np.uint8], pieces: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The pieces (slices, rows, columns) of a mask that were chosen, and all those that something was drawn in."""
        found = pieces.copy()
        for value in np.unique(self.certain[(self.certain > 0) & (self.certain < BACKGROUND)]):
            numbers, _ = ndimage.label(marked == value)
            drawn = np.unique(numbers[self.certain == value])
            found[np.isin(numbers, drawn[drawn > 0])] = value
        return found

    def fix(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask (slices, rows, columns) with every pixel that was drawn as it was drawn."""
        return np.where(self.certain == 0, mask, np.where(self.certain == BACKGROUND, 0, self.certain)).astype(np.uint8)

    def _influence(self, stack: Stack, classes: int) -> Iterator[tuple[int, tuple[slice, slice], NDArray[np.float32]]]:
        """Of each slice with strokes the window that they reach, and what they say of each class in it, in [-1, 1]."""
        reach = [int(np.ceil(2 * REACH_MM / step)) for step in stack.spacing]
        for index in np.flatnonzero(self.speaking.any(axis=(1, 2))):
            plane = self.speaking[index]
            places = [np.flatnonzero(plane.any(axis=1 - axis)) for axis in (0, 1)]
            window = tuple(
                slice(max(0, place[0] - pixels), place[-1] + pixels + 1)
                for place, pixels in zip(places, reach, strict=True)
            )
            marks, image = plane[window], stack.native[index][window]
            graph = _graph(image, stack.spacing)
            near = {value: _nearness(graph, marks == value) for value in np.unique(marks[marks > 0]).tolist()}
            nothing = np.zeros(marks.shape, np.float32)
            said = []
            for k in range(classes):
                others = [map for value, map in near.items() if value != k + 1]
                said.append(near.get(k + 1, nothing) - (np.max(others, axis=0) if others else nothing))
            yield int(index), (window[0], window[1]), np.stack(said)


def _graph(image: NDArray[np.float32], spacing: tuple[float, float]) -> csr_array:
    """Neighbouring pixels of an image with the distance between them, in millimetres, edges counting more."""
    number = np.arange(image.size).reshape(image.shape)
    begins, ends, lengths = [], [], []
    steps = [((1, 0), spacing[0]), ((0, 1), spacing[1]), ((1, 1), np.hypot(*spacing)), ((1, -1), np.hypot(*spacing))]
    for (down, right), mm in steps:
        here = (slice(None, image.shape[0] - down), slice(max(0, -right), image.shape[1] - max(0, right)))
        there = (slice(down, None), slice(max(0, right), image.shape[1] + min(0, right)))
        begins.append(number[here].ravel())
        ends.append(number[there].ravel())
        lengths.append(np.hypot(mm, EDGE_MM * np.abs(image[there] - image[here])).ravel())
    edges = (np.concatenate(lengths), (np.concatenate(begins), np.concatenate(ends)))
    return coo_array(edges, shape=(image.size, image.size)).tocsr()


def _nearness(graph: csr_array, marked: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 where it is marked, less with the distance along the image, 0 beyond reach."""
    found = dijkstra(graph, directed=False, indices=np.flatnonzero(marked), min_only=True, limit=2 * REACH_MM)
    return np.exp(-((found / REACH_MM) ** 2)).astype(np.float32).reshape(marked.shape)


def _moved(probability: NDArray[np.float32], logits: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Probabilities moved by so many logits."""
    return expit(_logit(probability) + logits).astype(np.float32)


def _in_box(probability: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A slice's probabilities of a class, 0 outside its boxes; in them what is most probable is marked, or a body."""
    found = np.where(inside, probability, 0)
    if (found[inside] > 0.5).mean() >= FILLED:
        return found
    likely = found + 0.3 * _body(inside)
    bar = np.quantile(likely[inside], 1 - ROUND)
    return np.where(inside, _moved(likely.clip(0, 1), -_logit(bar)), 0)


def _logit(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(logit(np.clip(probability, 1e-4, 1 - 1e-4)))


def _body(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 in the middle of what is boxed, 0 at its ends: as far along rows and columns as it goes."""
    rows, columns = (_hill(inside.any(axis=1 - axis)) for axis in (0, 1))
    return np.where(inside, np.minimum(rows[:, None], columns[None]), 0).astype(np.float32)


def _hill(there: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A rounded hill over each run of a line."""
    found = np.zeros(len(there), np.float32)
    ends = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8)))
    for begin, end in ends.reshape(-1, 2):
        across = np.linspace(-1, 1, end - begin + 2)[1:-1]
        found[begin:end] = np.sqrt(1 - across**2)
    return found
