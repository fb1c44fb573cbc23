"""What shipped models are worth on a few real scans, so that a change of how scans are prepared is noticed.

Docs have the figures on all of them; each least value here is 0.03 below what these scans give.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsseg.evaluation.cases import load_cases
from wsseg.evaluation.metrics import dice_of
from wsseg.inference.segmenter import Segmenter


@pytest.mark.alone  # it computes with all cores for a minute
@pytest.mark.parametrize(
    ("model", "task", "scans", "given", "least"),
    [
        ("pclmix-cardiac-cine", "acdc", 4, False, 0.85),
        ("union-heart-cine", "acdc", 4, False, 0.79),
        ("union-abdomen-mr", "abdomen_t2", 3, False, 0.85),
        ("union-headneck-ct", "headneck_ct", 2, False, 0.56),
        ("cldf-glioma-flair", "lgg", 4, False, 0.71),
        ("cam-glioma-flair", "lgg", 4, True, 0.7),
    ],
)
def test_masks_are_as_good_as_they_were(
    shared: Path, tmp_path: Path, model: str, task: str, scans: int, given: bool, least: float
) -> None:
    segmenter = Segmenter(model)
    names = sorted(file.name for file in (shared / task / "val").glob("*_label.nii.gz"))[:scans]
    for name in names:
        for part in (name, name.replace("_label", "")):
            (tmp_path / part).symlink_to(shared / task / "val" / part)
    found = []
    for case in load_cases(tmp_path, segmenter.package.labels):
        mask = segmenter(case.scan, case.presence if given else None).mask.voxels
        values = segmenter.package.labels.values().values()
        found.append(np.mean([dice_of(mask == value, case.reference == value) for value in values]))
    assert np.mean(found) >= least, found
