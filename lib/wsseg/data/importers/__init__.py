"""Public releases in their own layouts to ours: scans, ``*_label`` files and ``image_labels.csv``.

>>> IMPORTERS["kaggle-3m"](Path("kaggle_3m"), Path("data/lgg"), print)

Masks of a release are used for the ``*_label`` files and for deriving presence,
nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wsseg.data.importers.acdc import import_acdc
from wsseg.data.importers.brats import import_brats
from wsseg.data.importers.kaggle_3m import import_kaggle_3m
from wsseg.data.importers.monuseg import import_monuseg
from wsseg.data.importers.release import Progress

Importer = Callable[[Path, Path, Progress], int]
"""Release folder, folder to write, and progress in [0, 1]; returns the number of cases."""

IMPORTERS: dict[str, Importer] = {
    "kaggle-3m": import_kaggle_3m,
    "acdc": import_acdc,
    "monuseg": import_monuseg,
    "brats": import_brats,
}

__all__ = ["IMPORTERS", "Importer", "Progress", "import_acdc", "import_brats", "import_kaggle_3m", "import_monuseg"]
