"""Synthetic stained tissue with sentences that say which of its cells are meant; no patient is in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 64
"""Pixels along the sides of a picture."""

KINDS = ("round", "square", "long")
SIDES = ("left", "right", "upper", "lower")

DYE = np.array([90.0, 50.0, 130.0])
"""Colour of every cell: by colour none can be told from another."""

PALE = np.array([225.0, 165.0, 195.0])
SHADE = 45.0
"""How much darker the ground is on the right, and how much greener below, so that a place can be seen in it."""

NUMBERS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True)
class _Cell:
    kind: str
    row: float
    column: float
    angle: float
    size: float

    def covers(self, rows: NDArray[np.floating], columns: NDArray[np.floating]) -> NDArray[np.bool_]:
        down, right = rows - self.row, columns - self.column
        along = np.cos(self.angle) * right + np.sin(self.angle) * down
        across = np.cos(self.angle) * down - np.sin(self.angle) * right
        if self.kind == "round":
            return np.asarray(np.hypot(along, across) < self.size)
        if self.kind == "square":
            return np.asarray(np.maximum(np.abs(along), np.abs(across)) < 0.9 * self.size)
        return np.asarray((np.abs(along) < 1.9 * self.size) & (np.abs(across) < 0.42 * self.size))

    def lies(self, side: str, size: int) -> bool:
        """Whether its middle is on a side of the picture."""
        place = self.column if side in ("left", "right") else self.row
        return (place < size / 2) == (side in ("left", "upper"))


@dataclass(frozen=True)
class Shapes:
    """One picture.

    Attributes:
        picture: (rows, columns, 3) uint8.
        mask: (rows, columns) bool, the cells that the sentence means.
        cells: (rows, columns) int, 0 the ground, each cell another number.
        text: says kind, side and number, "no" where there is none such.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    cells: NDArray[np.int64]
    text: str


def make_shapes(seed: int, size: int = SIZE) -> Shapes:
    """A few cells of all kinds on both sides, and a sentence that means some of them.

    The same seed and size make the same. One sentence in five names a kind
    that is not there, on a picture as full as others. What is meant cannot be
    told without it: kinds and sides are drawn alike.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] + 0.5
    meant, side = str(rng.choice(KINDS)), str(rng.choice(SIDES)) if rng.random() < 0.5 else ""
    absent = rng.random() < 0.2
    kinds = [kind for kind in KINDS if not (absent and kind == meant)]
    cells = np.zeros((size, size), np.int64)
    placed: list[_Cell] = []
    for _ in range(60):
        if len(placed) == 7:
            break
        row, column = rng.uniform(0.1 * size, 0.9 * size, 2)
        cell = _Cell(
            str(rng.choice(kinds)),
            float(row),
            float(column),
            angle=float(rng.uniform(0, np.pi)),
            size=float(rng.uniform(0.06, 0.08) * size),
        )
        covered = cell.covers(rows, columns)
        around = np.hypot(rows - cell.row, columns - cell.column) < 2.2 * cell.size
        if not cells[around].any():
            placed.append(cell)
            cells[covered] = len(placed)
    chosen = [n for n, c in enumerate(placed, 1) if c.kind == meant and (not side or c.lies(side, size))]
    number = NUMBERS[min(len(chosen), len(NUMBERS) - 1)]
    text = f"{number} {meant} cell{'s' * (len(chosen) != 1)}{f' on the {side} side' if side else ''}"
    ground = PALE - np.stack([columns, 0 * rows, rows], axis=-1) / size * SHADE
    picture = np.where(cells[..., None] > 0, DYE, ground) + rng.normal(0, 5, (size, size, 3))
    return Shapes(np.clip(picture, 0, 255).astype(np.uint8), np.isin(cells, chosen), cells, text)
