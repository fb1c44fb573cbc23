"""Labels of scans that a data folder does not hold."""

from __future__ import annotations

from pathlib import Path

from wsseg.data.kinds.registry import Kinds
from wsseg.images.folder import scan_files
from wsseg.labels.space import LabelSpace

MOST_NAMED = 3
"""Scans that a sentence names."""


def unmatched(folder: Path, kinds: Kinds, labels: LabelSpace) -> list[str]:
    """Sentences on labels of scans that a folder does not hold, as where a name is mistyped; none where all fit."""
    scans, found = scan_files(folder), []
    for kind in kinds:
        if cases := sorted(kind.listed(folder, labels) - scans.keys()):
            shown = ", ".join([*cases[:MOST_NAMED], *(["..."] if len(cases) > MOST_NAMED else [])])
            found.append(f"{kind.name}: {len(cases)} of the scans that are labelled are not in {folder}: {shown}")
    return found
