"""Scans and strokes to be kept in a database of labels."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from wsseg.labels.database.store import FILE
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.space import LabelSpace

TUMOR = LabelSpace(("tumor",))
GRID = (4, 5, 3)
HERE = Project("one", "file:///one")


def scan(name: str, slices: int = 3, axis: int = 2) -> ScanIdentity:
    """A scan whose content is its name."""
    return ScanIdentity(name, name, (4, 5, slices), axis)


A, B, C = scan("a"), scan("b"), scan("c")


def rows(home: Path, query: str) -> list[Any]:
    """What another program reads from the file."""
    with sqlite3.connect(home / FILE) as connection:
        return connection.execute(query).fetchall()


def drawn(*strokes: tuple[int, int, int, int]) -> np.ndarray:
    voxels = np.zeros(GRID, np.uint8)
    for x, y, index, value in strokes:
        voxels[x, y, index] = value
    return voxels
